//! Modulation by vectors per image: the scale, shift and gate of adaptive layer normalisation (Peebles and Xie,
//! "Scalable Diffusion Models with Transformers", 2023).

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y = x * (offset + scale) + shift`. Reads x, scale and shift; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Modulate {
    /// The shape of x and y.
    pub shape: Shape,
    /// Texels from one image's scale to the next.
    pub scale_row: usize,
    /// Texels from one image's shift to the next; `None` for a shift that is a map of x's shape.
    pub shift_row: Option<usize>,
    /// Added to the scale.
    pub offset: f32,
}

parameters! {
    /// The parameters of `modulate.wgsl`.
    struct Params {
        texels: u32,
        image_texels: u32,
        c4: u32,
        scale_row: u32,
        shift_row: u32,
        offset: f32,
    }
}

static KERNEL: Kernel = kernel!("modulate", Params, twin);

impl Modulate {
    /// The dispatch of this modulation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let texels = self.shape.texels();
        let params = Params {
            texels: texels as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            c4: self.shape.c4() as u32,
            scale_row: self.scale_row as u32,
            shift_row: self.shift_row.unwrap_or(0) as u32,
            offset: self.offset,
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
    let [x, scale, shift] = reads else { return };
    let (padded, image_values) = (p.c4 as usize * TEXEL, p.image_texels as usize * TEXEL);
    for index in 0..p.texels as usize * TEXEL {
        let (image, channel) = (index / image_values, index % padded);
        let of = |row: u32| image * row as usize * TEXEL + channel;
        let of_shift = if p.shift_row == 0 { index } else { of(p.shift_row) };
        write[index] = x[index] * (scale[of(p.scale_row)] + p.offset) + shift[of_shift];
    }
}
