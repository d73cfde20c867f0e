//! Means of the centres of patches, weighted by a softmax over the patches, without storing scores: the local closed
//! form ([`crate::denoise::closed_form::local`]).

use super::selftest::LONGEST_LOOP;
use super::{Dispatch, Family, Kernel, Shader, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// The weighted means of some queries over blocks of keys. Reads queries and keys, laid out as `patch_means.lanes.wgsl`
/// says; writes two texels for each query and part.
#[derive(Clone, Copy, Debug)]
pub struct PatchMeans {
    /// Queries.
    pub queries: usize,
    /// Texels of a query, four taps each, without the texel of its scale.
    pub texels: usize,
    /// Blocks of [`PatchMeans::block`] keys.
    pub blocks: usize,
    /// Blocks per part.
    pub per_part: usize,
    /// The tap of the centre's first channel; the others follow it.
    pub centre: usize,
    /// Channels, 1 to 4.
    pub channels: usize,
    /// `true` to take differences of taps before squaring, which is exact where noise is little and costs twice as
    /// much.
    pub differences: bool,
}

/// The log2 count of keys that are padding: their weight is zero.
pub const NO_KEY: f32 = -1.0e38;

const TILE_QUERIES: usize = 64;
/// Texels of keys per row of a block where the family does not fix it.
const TILE_LANES: usize = 16;

parameters! {
    /// The parameters of the shaders.
    struct Params {
        queries: u32,
        texels: u32,
        blocks: u32,
        per_part: u32,
        centre: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader, and its constants.
    struct TwinParams {
        shader: Params,
        lanes: u32,
        channels: u32,
        differences: u32,
    }
}

static LANES: Kernel = kernel!("patch_means.lanes", TwinParams, twin);
static TILE: Kernel = kernel!("patch_means.tile", TwinParams, twin);

fn lanes(family: Family) -> usize {
    match family {
        Family::Lanes { width } => width as usize,
        Family::Tile | Family::Matrix { .. } => TILE_LANES,
    }
}

/// Texels of a query that the shader for software adapters writes out, where they are few: patches of 1, 3 and 5
/// pixels.
const UNROLLED: [usize; 3] = [1, 3, 7];

/// Queries of a workgroup of the shader for software adapters. Their scores are straight code, which drivers take
/// seconds to compile: more so where all taps are written out.
fn rows(texels: usize) -> usize {
    if UNROLLED.contains(&texels) { 8 } else { 16 }
}

fn variant(family: Family, texels: usize, channels: usize, differences: bool) -> Shader {
    let of_kernel = [("CHANNELS", channels as u32), ("DIFFERENCES", u32::from(differences))];
    match family {
        Family::Lanes { width } => {
            let is_unrolled = UNROLLED.contains(&texels);
            let passes = if is_unrolled { texels - 1 } else { 0 };
            let of_family = [
                ("LANES", width),
                ("ROWS", rows(texels) as u32),
                ("UNROLLED", u32::from(is_unrolled)),
                ("PASSES", passes as u32),
            ];
            family.shader(&LANES, of_family.into_iter().chain(of_kernel).collect())
        }
        Family::Tile | Family::Matrix { .. } => family.shader(&TILE, of_kernel.to_vec()),
    }
}

impl PatchMeans {
    /// Keys of a block.
    #[must_use]
    pub fn block(family: Family) -> usize {
        TEXEL * lanes(family)
    }

    /// Texels of a block of keys of `texels` texels of taps.
    #[must_use]
    pub fn block_texels(family: Family, texels: usize) -> usize {
        lanes(family) * (TEXEL * texels + 2)
    }

    /// The most blocks per part.
    #[must_use]
    pub fn most_per_part(family: Family, texels: usize) -> usize {
        let passes = match family {
            Family::Lanes { .. } => 1,
            Family::Tile | Family::Matrix { .. } => TILE_LANES,
        };
        (LONGEST_LOOP as usize / (passes * (texels + 1))).max(1)
    }

    /// Parts of the keys.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.blocks.div_ceil(self.per_part)
    }

    /// The dispatch of these means.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [queries, texels, blocks, per_part, centre] =
            [self.queries, self.texels, self.blocks, self.per_part, self.centre].map(|extent| extent as u32);
        let params = TwinParams {
            shader: Params { queries, texels, blocks, per_part, centre },
            lanes: lanes(family) as u32,
            channels: self.channels as u32,
            differences: u32::from(self.differences),
        };
        let tile = match family {
            Family::Lanes { .. } => rows(self.texels),
            Family::Tile | Family::Matrix { .. } => TILE_QUERIES,
        };
        let grid = [self.queries.div_ceil(tile), self.parts(), 1].map(|extent| extent as u32);
        Dispatch { shader: variant(family, self.texels, self.channels, self.differences), params: words(&params), grid }
    }

    /// Floating-point operations, an exponential counted as ten.
    #[must_use]
    pub fn flops(&self, family: Family) -> u64 {
        let taps = if self.differences { 3 } else { 2 } * self.texels * TEXEL;
        (self.queries * self.blocks * Self::block(family) * (taps + 12 + 2 * self.channels)) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let texels: &[usize] = match family {
            Family::Lanes { .. } => &[2, UNROLLED[0], UNROLLED[1], UNROLLED[2]],
            Family::Tile | Family::Matrix { .. } => &[2],
        };
        let pairs = (1..=TEXEL).flat_map(|channels| [(channels, false), (channels, true)]);
        let of_pair =
            |(channels, differences)| texels.iter().map(move |it| variant(family, *it, channels, differences));
        pairs.flat_map(of_pair).collect()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, lanes, channels, differences } = params(words);
    let [q, k] = reads else { return };
    let (queries, taps) = (p.queries as usize, p.texels as usize * TEXEL);
    let (block_keys, channels, centre) = (TEXEL * lanes as usize, channels as usize, p.centre as usize);
    let per_part = p.per_part as usize;
    let parts = (p.blocks as usize).div_ceil(per_part);
    for (part, query) in (0..parts).flat_map(|part| (0..queries).map(move |query| (part, query))) {
        let row = &q[query * (taps + TEXEL)..][..taps + TEXEL];
        let scale = row[taps];
        let mut scores = Vec::new();
        for block in part * per_part..((part + 1) * per_part).min(p.blocks as usize) {
            let block = &k[block * block_keys * (taps + 2)..][..block_keys * (taps + 2)];
            for key in 0..block_keys {
                let at = |row: usize| block[row * block_keys + key];
                let score: f32 = if differences == 1 {
                    row[..taps].iter().enumerate().map(|(tap, q)| -0.5 * (q - at(tap)) * (q - at(tap))).sum()
                } else {
                    row[..taps].iter().enumerate().map(|(tap, q)| q * at(tap)).sum::<f32>() - at(taps)
                };
                scores.push((scale * score + at(taps + 1), [0, 1, 2, 3].map(|c| at((centre + c).min(taps - 1)))));
            }
        }
        let most = scores.iter().map(|(score, _)| *score).fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0f32; 2 * TEXEL];
        sums[0] = most;
        for (score, centres) in scores {
            let weight = (score - most).exp2();
            sums[1] += weight;
            for (sum, centre) in sums[TEXEL..].iter_mut().zip(centres).take(channels) {
                *sum += weight * centre;
            }
        }
        write[2 * TEXEL * (part * queries + query)..][..2 * TEXEL].copy_from_slice(&sums);
    }
}
