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
