//! Statistics and factors of group normalisation in one dispatch.

use super::fold::{Affine, groups_of_set};
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::selftest::LONGEST_LOOP;
use crate::kernels::source::{joined_constant, joined_value};
use crate::kernels::{Dispatch, Family, Kernel, Shader, params, words};
use crate::tensor::{Shape, TEXEL};

/// [`super::Moments`] and [`super::GroupNormFold`] at once. Reads x, x2 (the second of two joined maps), weight, bias,
/// modulation; writes the factors.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormFactors {
    /// The map read.
    pub x: Shape,
    /// Channels of the first of two joined maps; whole texels.
    pub joined: Option<usize>,
    /// Groups of channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// As in [`super::GroupNormFold`].
    pub modulation: Option<usize>,
}

parameters! {
    /// The parameters of `group_norm.lanes.wgsl` and `group_norm.tile.wgsl`.
    struct Params {
        channels: u32,
        group_channels: u32,
        set_groups: u32,
        pixels: u32,
        modulation: u32,
        eps: f32,
        first_c4: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and the extents of its grid.
    struct TwinParams {
        shader: Params,
        images: u32,
        groups: u32,
    }
}

static LANES: Kernel = kernel!("group_norm.lanes", TwinParams, twin);
static TILE: Kernel = kernel!("group_norm.tile", TwinParams, twin);

/// The most texels of a group that one workgroup of a GPU is fast enough with.
const MOST_TEXELS: usize = 1 << 15;

impl GroupNormFactors {
    /// The dispatch; `None` if a group is too large or, for the lanes family, is not whole texels.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Option<Dispatch> {
        let group_channels = self.x.c / self.groups;
        let set = groups_of_set(group_channels);
        let (kernel, mut constants) = match family {
            Family::Lanes { width } => {
                let iterations = self.x.pixels().div_ceil(width as usize) * (group_channels / TEXEL);
                if set > 1 || iterations > LONGEST_LOOP as usize {
                    return None;
                }
                (&LANES, vec![("LANES", width)])
            }
            Family::Tile | Family::Matrix { .. } => {
                if self.x.pixels() * group_channels.div_ceil(TEXEL) > MOST_TEXELS {
                    return None;
                }
                (&TILE, vec![])
            }
        };
        constants.push(joined_constant(self.joined));
        let shader_params = Params {
            channels: self.x.c as u32,
            group_channels: group_channels as u32,
            set_groups: set as u32,
            pixels: self.x.pixels() as u32,
            modulation: self.modulation.unwrap_or(0) as u32,
            eps: self.eps,
            first_c4: self.joined.unwrap_or(0).div_ceil(TEXEL) as u32,
        };
        let params = TwinParams { shader: shader_params, images: self.x.n as u32, groups: self.groups as u32 };
        let grid = [self.groups.div_ceil(set) as u32, self.x.n as u32, 1];
        Some(Dispatch { shader: family.shader(kernel, constants), params: words(&params), grid })
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let x = Shape::new(1, 1, 1, TEXEL);
        let of = |joined| Self { x, joined, groups: 1, eps: 0.0, modulation: None }.dispatch(family);
        [None, Some(TEXEL)].into_iter().filter_map(of).map(|dispatch| dispatch.shader).collect()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, images, groups } = params(words);
    let [x, x2, weight, bias, modulation] = reads else { return };
    let affine = Affine { weight, bias, modulation, row: p.modulation as usize };
    let (channels, pixels) = (p.channels as usize, p.pixels as usize);
    let group_channels = channels / groups as usize;
    for image in 0..images as usize {
        let of_group = |group: usize| {
            let first = group * group_channels;
            let value = |at: usize| {
                let (pixel, channel) = (image * pixels + at / group_channels, first + at % group_channels);
                joined_value([x, x2], p.first_c4, channels.next_multiple_of(TEXEL), pixel, channel)
            };
            let nearby = value(0);
            // The lanes' sums are short; one long sum has to be wider.
            let (mut sum, mut squares) = (0.0f64, 0.0f64);
            for value in (0..pixels * group_channels).map(value) {
                let deviation = f64::from(value - nearby);
                sum += deviation;
                squares += deviation * deviation;
            }
            let values = (pixels * group_channels) as f64;
            let apart = sum / values;
            let variance = (squares / values - apart * apart).max(0.0) as f32;
            (nearby + apart as f32, 1.0 / (variance + p.eps).sqrt())
        };
        let all: Vec<_> = (0..groups as usize).map(of_group).collect();
        affine.fold(image, channels, group_channels, |group| all[group], write);
    }
}
