//! Layer normalisation over the channels of each pixel.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` over the channels of each row, the variance biased. Reads
/// x, weight, bias (zero in their padding channels); writes y, laid out as x, zero in the padding.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Rows: pixels of all images together.
    pub rows: usize,
    /// Channels, unpadded; fewer than 40,000.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

parameters! {
    /// The parameters of `layer_norm.wgsl`.
    struct Params {
        rows: u32,
        channels: u32,
        eps: f32,
    }
}

static KERNEL: Kernel = kernel!("layer_norm", Params, twin);

impl LayerNorm {
    /// The dispatch of this normalisation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params { rows: self.rows as u32, channels: self.channels as u32, eps: self.eps };
        Dispatch { shader: family.shader(&KERNEL, vec![]), params: words(&params), grid: flat_grid(self.rows) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x, weight, bias] = reads else { return };
    let channels = p.channels as usize;
    let padded = channels.next_multiple_of(TEXEL);
    // As the shader sums: every fourth channel together, then the four.
    let mean = |row: &[f32], of: &dyn Fn(f32) -> f32| {
        let mut sums = [0.0f32; TEXEL];
        row.iter().enumerate().for_each(|(channel, v)| sums[channel % TEXEL] += of(*v));
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) / channels as f32
    };
    for (from, to) in x.chunks(padded).zip(write.chunks_mut(padded)).take(p.rows as usize) {
        let from = &from[..channels];
        let near = mean(from, &|v| v);
        let apart = mean(from, &|v| v - near);
        let variance = (mean(from, &|v| (v - near) * (v - near)) - apart * apart).max(0.0);
        let scale = 1.0 / (variance + p.eps).sqrt();
        to.fill(0.0);
        for (channel, v) in from.iter().enumerate() {
            to[channel] = ((v - near) - apart) * scale * weight[channel] + bias[channel];
        }
    }
}
