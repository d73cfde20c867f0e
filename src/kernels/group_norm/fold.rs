//! Second stage of group normalisation: statistics, weight, bias and modulation become one multiply-add per channel.

use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::TEXEL;

/// Folds the moments of chunks into factors. Reads moments (see [`super::Moments`]), weight, bias, modulation; writes
/// for each image the texels of c multipliers a, then the texels of c offsets b, so that `x * a + b = (weight * (x -
/// mean) / sqrt(variance + eps) + bias) * (1 + m[..c]) + m[c..]`, the variance biased; without modulation the last
/// two steps are omitted.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormFold {
    /// Images of the batch.
    pub images: usize,
    /// Channels, unpadded.
    pub channels: usize,
    /// Groups of channels; divides their number.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Pixels per image.
    pub pixels: usize,
    /// Pixels per chunk of the moments.
    pub chunk: usize,
    /// With one vector m of twice the channels per image: texels from one vector to the next.
    pub modulation: Option<usize>,
}

parameters! {
    /// The parameters of `group_norm_fold.wgsl`, which does not use the last, and `group_norm_fold.tile.wgsl`.
    struct Params {
        images: u32,
        channels: u32,
        group_channels: u32,
        pixels: u32,
        chunk: u32,
        chunks: u32,
        modulation: u32,
        eps: f32,
        set_groups: u32,
    }
}

static BY_CHANNEL: Kernel = kernel!("group_norm_fold", Params, twin);

static TILE: Kernel = kernel!("group_norm_fold.tile", Params, twin);

/// Groups per set of `shaders/shared/group_sets.wgsl`: the fewest that are whole texels.
pub(super) fn groups_of_set(group_channels: usize) -> usize {
    [1, 2].into_iter().find(|set| (set * group_channels).is_multiple_of(TEXEL)).unwrap_or(TEXEL)
}

impl GroupNormFold {
    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let group_channels = self.channels / self.groups;
        let set = groups_of_set(group_channels);
        let params = Params {
            images: self.images as u32,
            channels: self.channels as u32,
            group_channels: group_channels as u32,
            pixels: self.pixels as u32,
            chunk: self.chunk as u32,
            chunks: self.pixels.div_ceil(self.chunk) as u32,
            modulation: self.modulation.unwrap_or(0) as u32,
            eps: self.eps,
            set_groups: set as u32,
        };
        let (kernel, grid) = match family {
            Family::Lanes { .. } => (&BY_CHANNEL, flat_grid(self.images * self.channels.div_ceil(TEXEL))),
            Family::Tile | Family::Matrix { .. } => (&TILE, [self.groups.div_ceil(set) as u32, self.images as u32, 1]),
        };
        Dispatch { shader: family.shader(kernel, vec![]), params: words(&params), grid }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let kernel = match family {
            Family::Lanes { .. } => &BY_CHANNEL,
            Family::Tile | Family::Matrix { .. } => &TILE,
        };
        vec![family.shader(kernel, vec![])]
    }
}

/// Mean and 1 / sqrt(variance + eps) of a group.
fn statistics(p: Params, moments: &[f32], image: usize, group: usize) -> (f32, f32) {
    let (c4, chunks) = ((p.channels as usize).div_ceil(TEXEL), p.chunks as usize);
    let first = group * p.group_channels as usize;
    let end = first + p.group_channels as usize;
    let moment = |chunk: usize, channel: usize, which: usize| {
        moments[(((image * chunks + chunk) * c4 + channel / TEXEL) * 2 + which) * TEXEL + channel % TEXEL]
    };
    let nearby = moment(0, first, 0);
    let (mut counts, mut means, mut m2s) = ([0.0f32; TEXEL], [0.0f32; TEXEL], [0.0f32; TEXEL]);
    for channel in first..end {
        let (count, mean, m2) = (&mut counts[channel % TEXEL], &mut means[channel % TEXEL], &mut m2s[channel % TEXEL]);
        for k in 0..chunks {
            let n = p.chunk.min(p.pixels - k as u32 * p.chunk) as f32;
            let share = n / (*count + n).max(1.0);
            let delta = moment(k, channel, 0) - nearby - *mean;
            *m2 += moment(k, channel, 1) + delta * delta * (*count * share);
            *mean += delta * share;
            *count += n;
        }
    }
    let values: f32 = counts.iter().sum();
    let all = counts.iter().zip(means).map(|(count, mean)| count * mean).sum::<f32>() / values;
    let between: f32 = counts.iter().zip(means).map(|(count, mean)| count * (mean - all) * (mean - all)).sum();
    let variance = (m2s.iter().sum::<f32>() + between) / values;
    (nearby + all, 1.0 / (variance + p.eps).sqrt())
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [moments, weight, bias, modulation] = reads else { return };
    let affine = Affine { weight, bias, modulation, row: p.modulation as usize };
    for image in 0..p.images as usize {
        let of_group = |group| statistics(p, moments, image, group);
        affine.fold(image, p.channels as usize, p.group_channels as usize, of_group, write);
    }
}

/// The affine part of a normalisation; the twin of `shaders/shared/affine.wgsl` and `fold.wgsl`.
pub(in crate::kernels) struct Affine<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub modulation: &'a [f32],
    /// Texels from one image's modulation to the next, 0 where there is none.
    pub row: usize,
}

impl Affine<'_> {
    /// Writes the factors of an image: `statistics` returns mean and 1 / deviation of a group.
    pub fn fold(
        &self,
        image: usize,
        channels: usize,
        group_channels: usize,
        statistics: impl Fn(usize) -> (f32, f32),
        write: &mut [f32],
    ) {
        let padded = channels.next_multiple_of(TEXEL);
        let (multipliers, offsets) = write[image * 2 * padded..][..2 * padded].split_at_mut(padded);
        multipliers.fill(0.0);
        offsets.fill(0.0);
        for channel in 0..channels {
            (multipliers[channel], offsets[channel]) =
                self.line(image, channel, channels, statistics(channel / group_channels));
        }
    }

    /// Multiplier and offset of one of `channels`, from mean and 1 / deviation.
    pub fn line(
        &self,
        image: usize,
        channel: usize,
        channels: usize,
        (mean, inverse_deviation): (f32, f32),
    ) -> (f32, f32) {
        let a = self.weight[channel] * inverse_deviation;
        let b = self.bias[channel] - mean * a;
        if self.row == 0 {
            return (a, b);
        }
        let vector = &self.modulation[image * self.row * TEXEL..];
        let scale = 1.0 + vector[channel];
        (a * scale, b * scale + vector[channels + channel])
    }
}
