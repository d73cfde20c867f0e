//! Kernels for roofs beside those of arithmetic in float32: float16, dot products of bytes, matrix units, and reads of
//! arrays of different sizes.

use half::f16;

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, to_float16, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// Independent chains per invocation, in float16 and of dot products.
const CHAINS: u32 = 8;
/// Steps of a round, as the shader of float16 unrolls them.
const HALF_STEPS: usize = 16;
/// Steps of a round, as the shaders of dot products and of matrix units unroll them.
const STEPS: usize = 8;
/// Reads of a round, as the shader unrolls them.
const READS: usize = 4;
/// Independent chains per subgroup on matrix units.
const TILE_CHAINS: u32 = 4;
/// Subgroups of a workgroup on matrix units.
const SUBGROUPS: usize = 4;

/// Chains of fused multiply-adds of pairs in float16. Reads x, one texel of multiplier and addend; writes y, one texel
/// per invocation. The device needs float16 in shaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfChain {
    /// Texels of y.
    pub texels: usize,
    /// Rounds of sixteen steps, fewer than 30,000.
    pub rounds: usize,
}

/// Chains of dot products of four signed bytes, `s = dot(s, factor) + addend`. Reads nothing; writes y, one texel per
/// invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotChain {
    /// Texels of y.
    pub texels: usize,
    /// Rounds of eight steps, fewer than 30,000.
    pub rounds: usize,
    /// Four signed bytes.
    pub factor: u32,
    /// The addend of a step.
    pub addend: i32,
}

/// Sums of texels of an array, read over and over. Reads x; writes y, one texel per invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Texels of y.
    pub texels: usize,
    /// Rounds of four reads per invocation, fewer than 30,000.
    pub rounds: usize,
    /// Texels from one read of an invocation to the next.
    pub stride: usize,
    /// Texels of x, a power of two.
    pub source: usize,
}

/// Chains of products of tiles on matrix units, float16 summed in float32. Reads x, one texel of two factors; writes
/// y, the tiles of all chains. The family is `matrix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileChain {
    /// Workgroups of four subgroups.
    pub workgroups: usize,
    /// Rounds of eight steps, fewer than 30,000.
    pub rounds: usize,
    /// Invocations of a subgroup.
    pub width: u32,
    /// Rows and columns of a tile.
    pub side: u32,
}

parameters! {
    /// The parameters of `probe_half.wgsl`.
    struct HalfParams {
        texels: u32,
        rounds: u32,
    }
}

parameters! {
    /// The parameters of `probe_dot.wgsl`.
    struct DotParams {
        texels: u32,
        rounds: u32,
        factor: u32,
        addend: u32,
    }
}

parameters! {
    /// The parameters of `probe_read.wgsl`.
    struct ReadParams {
        texels: u32,
        rounds: u32,
        stride: u32,
        mask: u32,
    }
}

parameters! {
    /// The parameters of `probe_chain.matrix.wgsl`.
    struct TileParams {
        rounds: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and its constants.
    struct TileTwinParams {
        shader: TileParams,
        side: u32,
    }
}

static HALF: Kernel = kernel!("probe_half", HalfParams, half_twin);
static DOT: Kernel = kernel!("probe_dot", DotParams, dot_twin);
static READ: Kernel = kernel!("probe_read", ReadParams, read_twin);
static TILE: Kernel = kernel!("probe_chain.matrix", TileTwinParams, tile_twin);

impl HalfChain {
    /// The dispatch of these chains.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = words(&HalfParams { texels: self.texels as u32, rounds: self.rounds as u32 });
        let shader = family.shader(&HALF, vec![("CHAINS", CHAINS)]);
        Dispatch { shader, params, grid: flat_grid(self.texels) }
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * 2 * (self.texels * CHAINS as usize * self.rounds * HALF_STEPS) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![Self { texels: 1, rounds: 1 }.dispatch(family).shader]
    }
}

impl DotChain {
    /// The dispatch of these chains.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let (texels, rounds) = (self.texels as u32, self.rounds as u32);
        let params = words(&DotParams { texels, rounds, factor: self.factor, addend: self.addend.cast_unsigned() });
        let shader = family.shader(&DOT, vec![("CHAINS", CHAINS)]);
        Dispatch { shader, params, grid: flat_grid(self.texels) }
    }

    /// Multiplications and additions of bytes.
    #[must_use]
    pub fn operations(&self) -> u64 {
        8 * (self.texels * CHAINS as usize * self.rounds * STEPS) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&DOT, vec![("CHAINS", CHAINS)])]
    }
}

impl Reads {
    /// The dispatch of these reads.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        assert!(self.source.is_power_of_two());
        let [texels, rounds, stride, source] =
            [self.texels, self.rounds, self.stride, self.source].map(|value| value as u32);
        let params = words(&ReadParams { texels, rounds, stride, mask: source.wrapping_sub(1) });
        Dispatch { shader: family.shader(&READ, vec![]), params, grid: flat_grid(self.texels) }
    }

    /// Bytes read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.texels * self.rounds * READS * TEXEL * size_of::<f32>()) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&READ, vec![])]
    }
}

impl TileChain {
    /// The dispatch of these chains.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        let Self { workgroups, rounds, width, side } = *self;
        let params = words(&TileTwinParams { shader: TileParams { rounds: rounds as u32 }, side });
        let constants = vec![("WIDTH", width), ("SIDE", side), ("CHAINS", TILE_CHAINS)];
        let shader = Family::Matrix { width, side }.shader(&TILE, constants);
        Dispatch { shader, params, grid: [workgroups as u32, 1, 1] }
    }

    /// Texels of y.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.workgroups * SUBGROUPS * TILE_CHAINS as usize * (self.side * self.side) as usize / TEXEL
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        let chains = (self.workgroups * SUBGROUPS * TILE_CHAINS as usize) as u64;
        2 * chains * (self.rounds * STEPS) as u64 * u64::from(self.side).pow(3)
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let Family::Matrix { width, side } = family else { return Vec::new() };
        vec![Self { workgroups: 1, rounds: 1, width, side }.dispatch().shader]
    }
}

fn half_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let HalfParams { texels, rounds } = params(words);
    let [x] = reads else { return };
    let [m, a] = [to_float16(x[0]), to_float16(x[1])].map(f64::from);
    // A product of two numbers of float16 and its sum with a third are exact in float64: rounded once.
    let end = |first: usize| {
        let steps = 0..rounds as usize * HALF_STEPS;
        steps.fold((first % 64) as f64, |s, _| f16::from_f64(s * m + a).to_f64()) as f32
    };
    for (index, sums) in write.chunks_mut(TEXEL).take(texels as usize).enumerate() {
        let sum = |first: usize| (0..CHAINS as usize).map(|chain| end(first + chain)).sum::<f32>();
        let both = [sum(index), sum(index + 1)];
        sums.copy_from_slice(&[both, both].concat());
    }
}

fn dot_twin(words: &[u32], _: &[&[f32]], write: &mut [f32]) {
    let DotParams { texels, rounds, factor, addend } = params(words);
    let bytes = |word: u32| word.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
    let factors = bytes(factor);
    let step = |s: u32| {
        let product: i32 = bytes(s).iter().zip(&factors).map(|(a, b)| a * b).sum();
        product.cast_unsigned().wrapping_add(addend)
    };
    for (index, sums) in (0..texels).zip(write.chunks_mut(TEXEL)) {
        let ends = (0..CHAINS).map(|chain| {
            let first = index.wrapping_add(chain).wrapping_mul(40503);
            (0..rounds as usize * STEPS).fold(first, |s, _| step(s))
        });
        let sum = ends.fold(0, u32::wrapping_add);
        let halves = [(sum & 0xffff) as f32, (sum >> 16) as f32];
        sums.copy_from_slice(&[halves, halves].concat());
    }
}

fn read_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let ReadParams { texels, rounds, stride, mask } = params(words);
    let [x] = reads else { return };
    for (index, sums) in (0..texels).zip(write.chunks_mut(TEXEL)) {
        let mut parts = [[0.0f32; TEXEL]; READS];
        for read in 0..rounds * READS as u32 {
            let at = (index.wrapping_add(read.wrapping_mul(stride)) & mask) as usize * TEXEL;
            let part = &mut parts[read as usize % READS];
            part.iter_mut().zip(&x[at..at + TEXEL]).for_each(|(sum, value)| *sum += value);
        }
        let [a, b, c, d] = parts;
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = (a[lane] + b[lane]) + (c[lane] + d[lane]);
        }
    }
}

fn tile_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TileTwinParams { shader: TileParams { rounds }, side } = params(words);
    let [x] = reads else { return };
    let (side, chains) = (side as usize, TILE_CHAINS as usize);
    let a = |row: usize, k: usize| to_float16(x[0] * (1 + (row + k) % 3) as f32);
    let b = |k: usize, column: usize| to_float16(x[1] * (1 + (k + 2 * column) % 5) as f32);
    for (at, value) in write.iter_mut().enumerate() {
        let (chain, row, column) = (at / (side * side) % chains, at / side % side, at % side);
        let product: f32 = (0..side).map(|k| a(row, k) * b(k + chain, column)).sum();
        *value = (0..rounds as usize * STEPS).fold(0.0, |sum, _| sum + product);
    }
}
