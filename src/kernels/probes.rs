//! Kernels for the roofs that other kernels are compared with.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// Independent chains per invocation.
const CHAINS: u32 = 10;
/// Steps of each chain in a round, as the shader unrolls them.
const ROUND_STEPS: usize = 32;

/// Chains of multiply-adds in registers. Reads x, one texel of multiplier and addend; writes y, one texel per
/// invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Texels of y.
    pub texels: usize,
    /// Rounds of thirty-two steps, fewer than 30,000.
    pub rounds: usize,
    /// By `fma`, or by a product and a sum that the compiler may fuse or not.
    pub fused: bool,
}

/// `y = x`. Reads x; writes y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Texels of x and y.
    pub texels: usize,
}

/// A chain of shuffles by constants in one subgroup of the `lanes` family, or of products in their place. Reads x,
/// writes y: one texel per lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffles {
    /// Rounds of four, fewer than 30,000.
    pub rounds: usize,
    /// Shuffles, not products.
    pub shuffles: bool,
}

parameters! {
    /// The parameters of `probe_shuffle.wgsl`.
    struct ShuffleParams {
        rounds: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and its constants.
    struct ShuffleTwinParams {
        shader: ShuffleParams,
        lanes: u32,
        shuffles: u32,
    }
}

parameters! {
    /// The parameters of `probe_chain.wgsl`.
    struct ChainParams {
        texels: u32,
        rounds: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the variant, which are constants of the shader.
    struct ChainTwinParams {
        shader: ChainParams,
        fused: u32,
    }
}

parameters! {
    /// The parameters of `probe_copy.wgsl`.
    struct CopyParams {
        texels: u32,
    }
}

static CHAIN: Kernel = kernel!("probe_chain", ChainTwinParams, chain_twin);
static COPY: Kernel = kernel!("probe_copy", CopyParams, copy_twin);
static SHUFFLE: Kernel = kernel!("probe_shuffle", ShuffleTwinParams, shuffle_twin);

impl Chain {
    /// The dispatch of these chains.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let shader = ChainParams { texels: self.texels as u32, rounds: self.rounds as u32 };
        let params = ChainTwinParams { shader, fused: u32::from(self.fused) };
        let constants = vec![("CHAINS", CHAINS), ("FUSED", u32::from(self.fused))];
        Dispatch { shader: family.shader(&CHAIN, constants), params: words(&params), grid: flat_grid(self.texels) }
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * (self.texels * CHAINS as usize * self.rounds * ROUND_STEPS) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [false, true].map(|fused| Self { texels: 1, rounds: 1, fused }.dispatch(family).shader).to_vec()
    }
}

impl Copy {
    /// The dispatch of this copy.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = words(&CopyParams { texels: self.texels as u32 });
        Dispatch { shader: family.shader(&COPY, vec![]), params, grid: flat_grid(self.texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&COPY, vec![])]
    }
}

impl Shuffles {
    /// The dispatch of this chain in a subgroup of `width` lanes.
    #[must_use]
    pub fn dispatch(&self, width: u32) -> Dispatch {
        let (shader, shuffles) = (ShuffleParams { rounds: self.rounds as u32 }, u32::from(self.shuffles));
        let params = words(&ShuffleTwinParams { shader, lanes: width, shuffles });
        let constants = vec![("LANES", width), ("SHUFFLES", shuffles)];
        Dispatch { shader: Family::Lanes { width }.shader(&SHUFFLE, constants), params, grid: [1, 1, 1] }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let Family::Lanes { width } = family else { return Vec::new() };
        [true, false].map(|shuffles| Self { rounds: 1, shuffles }.dispatch(width).shader).to_vec()
    }
}

fn shuffle_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let ShuffleTwinParams { shader: p, lanes, shuffles } = params(words);
    let x: Vec<f32> = reads[0].iter().step_by(TEXEL).copied().take(lanes as usize).collect();
    let mut v = x.clone();
    for step in (0..p.rounds as usize).flat_map(|_| 0..4) {
        let shuffled = v[step * 2 + 1];
        for (v, x) in v.iter_mut().zip(&x) {
            *v = 0.5 * if shuffles == 0 { *v * 0.75 } else { shuffled } + x;
        }
    }
    for (texel, v) in write.chunks_mut(TEXEL).zip(v) {
        texel.fill(v);
    }
}

fn chain_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let ChainTwinParams { shader: p, fused } = params(words);
    let [x] = reads else { return };
    let [m, a] = [x[0], x[1]];
    for (index, sums) in write.chunks_mut(TEXEL).take(p.texels as usize).enumerate() {
        let ends = (0..CHAINS as usize).map(|chain| {
            let first = ((index + chain) % 64) as f32;
            (0..p.rounds as usize * ROUND_STEPS)
                .fold(first, |s, _| if fused == 0 { s * m + a } else { s.mul_add(m, a) })
        });
        sums.fill(ends.sum());
    }
}

fn copy_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let CopyParams { texels } = params(words);
    let values = texels as usize * TEXEL;
    write[..values].copy_from_slice(&reads[0][..values]);
}
