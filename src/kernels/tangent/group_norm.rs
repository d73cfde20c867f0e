//! The tangent of group normalisation in three stages, like those of [`crate::kernels::group_norm`] for the value:
//! moments of chunks, factors of channels, and their application with the activation's slope.

use super::primal_index;
use crate::kernels::activation::{Activation, activation_code, slope};
use crate::kernels::group_norm::{Affine, Moments};
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// Moments, and factors, per channel.
const NUMBERS: usize = 4;

/// Moments of a map and its tangent over chunks of pixels. Reads x, tangent; writes four texels (mean and M2 of x,
/// mean of the tangent, sum of the products of their deviations) for each image of the tangent, chunk and channel
/// texel.
#[derive(Clone, Copy, Debug)]
pub struct MomentsTangent {
    /// The shape of the tangent.
    pub shape: Shape,
    /// Images of the tangent for each of x.
    pub repeats: usize,
    /// Pixels per chunk; the last chunk of an image may be shorter.
    pub chunk: usize,
}

/// Folds moments into the factors a, b, c, d of each channel: `z = x * a + b` is normalised, scaled and modulated,
/// and `tangent * a + x * c + d` is its tangent. Reads moments, weight, bias, modulation (one vector per image of x);
/// writes for each image of the tangent the texels of a, of b, of c and of d.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormTangent {
    /// The moments.
    pub moments: MomentsTangent,
    /// Groups of channels; divides their number.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// As in [`crate::kernels::group_norm::GroupNormFold`].
    pub modulation: Option<usize>,
}

/// `y = act'(x * a + b) * (tangent * a + x * c + d)`. Reads x, tangent, factors; writes y, of the tangent's shape.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShiftTangent {
    /// The shape of the tangent and of y.
    pub shape: Shape,
    /// Images of the tangent for each of x.
    pub repeats: usize,
    /// Applied to the normalised value.
    pub activation: Option<Activation>,
}

parameters! {
    /// The parameters of `moments_tangent.wgsl`.
    struct MomentsParams {
        pixels: u32,
        c4: u32,
        chunk: u32,
        chunks: u32,
        invocations: u32,
        repeats: u32,
    }
}

parameters! {
    /// The parameters of `group_norm_tangent.wgsl`.
    struct FoldParams {
        images: u32,
        channels: u32,
        group_channels: u32,
        pixels: u32,
        chunk: u32,
        chunks: u32,
        modulation: u32,
        repeats: u32,
        eps: f32,
    }
}

parameters! {
    /// The parameters of `scale_shift_tangent.wgsl`, and the activation, which is a constant of the shader.
    struct ApplyParams {
        texels: u32,
        image_texels: u32,
        c4: u32,
        repeats: u32,
        activation: u32,
    }
}

static MOMENTS: Kernel = kernel!("moments_tangent", MomentsParams, moments_twin);
static FOLD: Kernel = kernel!("group_norm_tangent", FoldParams, fold_twin);
static APPLY: Kernel = kernel!("scale_shift_tangent", ApplyParams, apply_twin);

impl MomentsTangent {
    /// The moments of a tangent of this shape, in chunks of [`Moments::chunk_pixels`].
    #[must_use]
    pub fn new(shape: Shape, repeats: usize) -> Self {
        Self { shape, repeats, chunk: Moments::chunk_pixels(shape) }
    }

    fn chunks(&self) -> usize {
        self.shape.pixels().div_ceil(self.chunk)
    }

    /// Texels written.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.shape.n * self.chunks() * self.shape.c4() * NUMBERS
    }

    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let invocations = self.texels() / NUMBERS;
        let params = MomentsParams {
            pixels: self.shape.pixels() as u32,
            c4: self.shape.c4() as u32,
            chunk: self.chunk as u32,
            chunks: self.chunks() as u32,
            invocations: invocations as u32,
            repeats: self.repeats as u32,
        };
        Dispatch { shader: family.shader(&MOMENTS, vec![]), params: words(&params), grid: flat_grid(invocations) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&MOMENTS, vec![])]
    }
}

impl GroupNormTangent {
    /// Texels written.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.moments.shape.n * self.moments.shape.c4() * NUMBERS
    }

    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let MomentsTangent { shape, repeats, chunk } = self.moments;
        let params = FoldParams {
            images: shape.n as u32,
            channels: shape.c as u32,
            group_channels: (shape.c / self.groups) as u32,
            pixels: shape.pixels() as u32,
            chunk: chunk as u32,
            chunks: self.moments.chunks() as u32,
            modulation: self.modulation.unwrap_or(0) as u32,
            repeats: repeats as u32,
            eps: self.eps,
        };
        let grid = flat_grid(self.texels() / NUMBERS);
        Dispatch { shader: family.shader(&FOLD, vec![]), params: words(&params), grid }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&FOLD, vec![])]
    }
}

impl ScaleShiftTangent {
    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = ApplyParams {
            texels: self.shape.texels() as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            c4: self.shape.c4() as u32,
            repeats: self.repeats as u32,
            activation: activation_code(self.activation),
        };
        let shader = family.shader(&APPLY, vec![("ACTIVATION", params.activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.shape.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let shape = Shape::new(1, 1, 1, TEXEL);
        [None, Some(Activation::Silu)]
            .map(|activation| Self { shape, repeats: 1, activation }.dispatch(family).shader)
            .to_vec()
    }
}

fn moments_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: MomentsParams = params(words);
    let [x, tangent] = reads else { return };
    let [pixels, c4, chunk, chunks, repeats] =
        [p.pixels, p.c4, p.chunk, p.chunks, p.repeats].map(|extent| extent as usize);
    for index in 0..p.invocations as usize {
        let (line, c) = (index / c4, index % c4);
        let (image, first) = (line / chunks, line % chunks * chunk);
        let count = chunk.min(pixels - first);
        for i in 0..TEXEL {
            let at = |image: usize, pixel: usize| ((image * pixels + first + pixel) * c4 + c) * TEXEL + i;
            let (x0, t0) = (x[at(image / repeats, 0)], tangent[at(image, 0)]);
            let (mut sum, mut squares, mut tangents, mut products) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
            for pixel in 1..count {
                let deviation = x[at(image / repeats, pixel)] - x0;
                let turn = tangent[at(image, pixel)] - t0;
                sum += deviation;
                squares += deviation * deviation;
                tangents += turn;
                products += deviation * turn;
            }
            let mean = sum / count as f32;
            let moments =
                [x0 + mean, (squares - sum * mean).max(0.0), t0 + tangents / count as f32, products - mean * tangents];
            for (which, moment) in moments.into_iter().enumerate() {
                write[(index * NUMBERS + which) * TEXEL + i] = moment;
            }
        }
    }
}

/// The statistics of a group: means of value and tangent, 1 / deviation of the value, mean product of their
/// deviations.
struct Statistics {
    mean: f32,
    inverse_deviation: f32,
    tangent: f32,
    together: f32,
}

/// The twin of `statistics`. One long sum instead of the shader's four short ones, so it is in float64.
fn statistics(p: FoldParams, moments: &[f32], image: usize, group: usize) -> Statistics {
    let (c4, chunks) = ((p.channels as usize).div_ceil(TEXEL), p.chunks as usize);
    let channels = group * p.group_channels as usize..(group + 1) * p.group_channels as usize;
    let moment = |chunk: usize, channel: usize, which: usize| {
        let texel = ((image * chunks + chunk) * c4 + channel / TEXEL) * NUMBERS + which;
        f64::from(moments[texel * TEXEL + channel % TEXEL])
    };
    let (mut count, mut mean, mut m2, mut tangent, mut together) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (channel, k) in channels.flat_map(|channel| (0..chunks).map(move |k| (channel, k))) {
        let n = f64::from(p.chunk.min(p.pixels - k as u32 * p.chunk));
        let share = n / (count + n);
        let (delta, turn) = (moment(k, channel, 0) - mean, moment(k, channel, 2) - tangent);
        m2 += moment(k, channel, 1) + delta * delta * (count * share);
        together += moment(k, channel, 3) + delta * turn * (count * share);
        mean += delta * share;
        tangent += turn * share;
        count += n;
    }
    Statistics {
        mean: mean as f32,
        inverse_deviation: (m2 / count + f64::from(p.eps)).sqrt().recip() as f32,
        tangent: tangent as f32,
        together: (together / count) as f32,
    }
}

fn fold_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: FoldParams = params(words);
    let [moments, weight, bias, modulation] = reads else { return };
    let affine = Affine { weight, bias, modulation, row: p.modulation as usize };
    let channels = p.channels as usize;
    let padded = channels.next_multiple_of(TEXEL);
    for (image, factors) in write.chunks_mut(NUMBERS * padded).take(p.images as usize).enumerate() {
        factors.fill(0.0);
        for channel in 0..channels {
            let of = statistics(p, moments, image, channel / p.group_channels as usize);
            let primal = image / p.repeats as usize;
            let (a, b) = affine.line(primal, channel, channels, (of.mean, of.inverse_deviation));
            let along = -a * of.inverse_deviation * of.inverse_deviation * of.together;
            for (which, factor) in [a, b, along, -a * of.tangent - along * of.mean].into_iter().enumerate() {
                factors[which * padded + channel] = factor;
            }
        }
    }
}

fn apply_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: ApplyParams = params(words);
    let [x, tangent, factors] = reads else { return };
    let (padded, image_len) = (p.c4 as usize * TEXEL, p.image_texels as usize * TEXEL);
    for index in 0..p.texels as usize * TEXEL {
        let x = x[primal_index(index, image_len, p.repeats as usize)];
        let factor = |which: usize| factors[(index / image_len * NUMBERS + which) * padded + index % padded];
        let turned = tangent[index] * factor(0) + x * factor(2) + factor(3);
        write[index] = slope(p.activation, x * factor(0) + factor(1)) * turned;
    }
}
