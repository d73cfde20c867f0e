//! A range of the channels of a map.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y[.., c] = x[.., first + c]`. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// Channels of a pixel of x.
    pub from: usize,
    /// The first channel of the range.
    pub first: usize,
    /// The shape of y; the range lies within the channels of x.
    pub y: Shape,
}

parameters! {
    /// The parameters of `channels.wgsl`.
    struct Params {
        texels: u32,
        first: u32,
        x_c4: u32,
        y_c: u32,
        y_c4: u32,
    }
}

static KERNEL: Kernel = kernel!("channels", Params, twin);

/// The variant: `aligned` for a range that begins a texel.
fn variant(family: Family, aligned: bool) -> Shader {
    family.shader(&KERNEL, vec![("ALIGNED", u32::from(aligned))])
}

impl Channels {
    /// The dispatch of this range.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params {
            texels: self.y.texels() as u32,
            first: self.first as u32,
            x_c4: self.from.div_ceil(TEXEL) as u32,
            y_c: self.y.c as u32,
            y_c4: self.y.c4() as u32,
        };
        let shader = variant(family, self.first.is_multiple_of(TEXEL));
        Dispatch { shader, params: words(&params), grid: flat_grid(self.y.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [false, true].map(|aligned| variant(family, aligned)).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let (count, first) = (p.y_c as usize, p.first as usize);
    let pixels = write.chunks_mut(p.y_c4 as usize * TEXEL).take((p.texels / p.y_c4) as usize);
    for (y, x) in pixels.zip(x.chunks(p.x_c4 as usize * TEXEL)) {
        y[..count].copy_from_slice(&x[first..first + count]);
        y[count..].fill(0.0);
    }
}
