//! Third stage of group normalisation: a multiply-add for each channel of an image, then an activation.

use crate::kernels::activation::{Activation, activate, activation_code};
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// `y = act(x * a + b)`. Reads x, factors (see [`super::GroupNormFold`]); writes y, of x's shape.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShift {
    /// The map read.
    pub x: Shape,
    /// Applied to the result.
    pub activation: Option<Activation>,
}

parameters! {
    /// The parameters of `scale_shift.wgsl`, and the activation, which is a constant of the shader.
    struct Params {
        texels: u32,
        image_texels: u32,
        c4: u32,
        activation: u32,
    }
}

static KERNEL: Kernel = kernel!("scale_shift", Params, twin);

impl ScaleShift {
    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params {
            texels: self.x.texels() as u32,
            image_texels: (self.x.pixels() * self.x.c4()) as u32,
            c4: self.x.c4() as u32,
            activation: activation_code(self.activation),
        };
        let shader = family.shader(&KERNEL, vec![("ACTIVATION", params.activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.x.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let x = Shape::new(1, 1, 1, 4);
        [None, Some(Activation::Silu)].map(|activation| Self { x, activation }.dispatch(family).shader).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x, factors] = reads else { return };
    let padded = p.c4 as usize * TEXEL;
    for index in 0..p.texels as usize * TEXEL {
        let image = index / (p.image_texels as usize * TEXEL);
        let at = image * 2 * padded + index % padded;
        write[index] = activate(p.activation, x[index] * factors[at] + factors[at + padded]);
    }
}
