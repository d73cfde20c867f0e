//! Tokens to patches of pixels: the last step of a vision transformer that makes images.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y[i * side + p, j * side + q, c] = x[i, j, (p * side + q) * channels + c]`. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Unpatchify {
    /// The shape of y; height and width are multiples of `side`.
    pub y: Shape,
    /// Height and width of a patch.
    pub side: usize,
}

parameters! {
    /// The parameters of `unpatchify.wgsl`.
    struct Params {
        texels: u32,
        width: u32,
        channels: u32,
        side: u32,
        x_c4: u32,
    }
}

static KERNEL: Kernel = kernel!("unpatchify", Params, twin);

impl Unpatchify {
    /// The dispatch of this operation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let texels = self.y.texels();
        let params = Params {
            texels: texels as u32,
            width: self.y.w as u32,
            channels: self.y.c as u32,
            side: self.side as u32,
            x_c4: (self.side * self.side * self.y.c).div_ceil(TEXEL) as u32,
        };
        Dispatch { shader: family.shader(&KERNEL, vec![]), params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [width, channels, side, x_c4] = [p.width, p.channels, p.side, p.x_c4].map(|extent| extent as usize);
    let padded = channels.next_multiple_of(TEXEL);
    for (pixel, y) in write[..p.texels as usize * TEXEL].chunks_mut(padded).enumerate() {
        let (row, column) = (pixel / width, pixel % width);
        let token = row / side * (width / side) + column / side;
        let first = token * x_c4 * TEXEL + (row % side * side + column % side) * channels;
        y.fill(0.0);
        y[..channels].copy_from_slice(&x[first..first + channels]);
    }
}
