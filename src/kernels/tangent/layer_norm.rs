//! The tangent of layer normalisation.

use super::primal_index;
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::TEXEL;

/// With z the normalised pixel of x and t the tangent less its mean, `y = weight * (t - z * mean(z * t)) /
/// sqrt(variance + eps)`. Reads x, tangent, weight, zero in their padding channels; writes y, laid out as the tangent,
/// zero in the padding.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormTangent {
    /// Rows of the tangent: pixels of all images together.
    pub rows: usize,
    /// Channels, unpadded; fewer than 40,000.
    pub channels: usize,
    /// Rows per image.
    pub image_rows: usize,
    /// Images of the tangent for each of x.
    pub repeats: usize,
    /// Added to the variance.
    pub eps: f32,
}

parameters! {
    /// The parameters of `layer_norm_tangent.wgsl`.
    struct Params {
        rows: u32,
        channels: u32,
        image_rows: u32,
        repeats: u32,
        eps: f32,
    }
}

static KERNEL: Kernel = kernel!("layer_norm_tangent", Params, twin);

impl LayerNormTangent {
    /// The dispatch of this tangent.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [rows, channels, image_rows, repeats] =
            [self.rows, self.channels, self.image_rows, self.repeats].map(|extent| extent as u32);
        let params = words(&Params { rows, channels, image_rows, repeats, eps: self.eps });
        Dispatch { shader: family.shader(&KERNEL, vec![]), params, grid: flat_grid(self.rows) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x, tangent, weight] = reads else { return };
    let channels = p.channels as usize;
    let padded = channels.next_multiple_of(TEXEL);
    // As the shader sums: every fourth channel together, then the four.
    let mean = |of: &dyn Fn(usize) -> f32| {
        let mut sums = [0.0f32; TEXEL];
        (0..channels).for_each(|channel| sums[channel % TEXEL] += of(channel));
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) / channels as f32
    };
    for row in 0..p.rows as usize {
        let of_x = primal_index(row, p.image_rows as usize, p.repeats as usize);
        let (x, tangent) = (&x[of_x * padded..][..channels], &tangent[row * padded..][..channels]);
        let (near, near_turn) = (mean(&|at| x[at]), mean(&|at| tangent[at]));
        let (apart, apart_turn) = (mean(&|at| x[at] - near), mean(&|at| tangent[at] - near_turn));
        let variance = (mean(&|at| (x[at] - near) * (x[at] - near)) - apart * apart).max(0.0) + p.eps;
        let together = (mean(&|at| (x[at] - near) * (tangent[at] - near_turn)) - apart * apart_turn) / variance;
        let scale = 1.0 / variance.sqrt();
        let to = &mut write[row * padded..][..padded];
        to.fill(0.0);
        for at in 0..channels {
            let (deviation, turn) = ((x[at] - near) - apart, (tangent[at] - near_turn) - apart_turn);
            to[at] = (turn - deviation * together) * scale * weight[at];
        }
    }
}
