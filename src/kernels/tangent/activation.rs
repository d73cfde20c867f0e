//! The tangent of a nonlinearity.

use super::primal_index;
use crate::kernels::activation::{Activation, activation_code, slope};
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// `y = act'(x) * tangent`. Reads x, tangent; writes y, of the tangent's shape.
#[derive(Clone, Copy, Debug)]
pub struct ActivateTangent {
    /// The shape of the tangent and of y.
    pub shape: Shape,
    /// Images of the tangent for each of x.
    pub repeats: usize,
    /// The nonlinearity.
    pub activation: Activation,
}

parameters! {
    /// The parameters of `activate_tangent.wgsl`, and the activation, which is a constant of the shader.
    struct Params {
        texels: u32,
        image_texels: u32,
        repeats: u32,
        activation: u32,
    }
}

static KERNEL: Kernel = kernel!("activate_tangent", Params, twin);

impl ActivateTangent {
    /// The dispatch of this tangent.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params {
            texels: self.shape.texels() as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            repeats: self.repeats as u32,
            activation: activation_code(Some(self.activation)),
        };
        let shader = family.shader(&KERNEL, vec![("ACTIVATION", params.activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.shape.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let shape = Shape::new(1, 1, 1, 1);
        Activation::ALL.map(|activation| Self { shape, repeats: 1, activation }.dispatch(family).shader).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x, tangent] = reads else { return };
    let image_len = p.image_texels as usize * TEXEL;
    for index in 0..p.texels as usize * TEXEL {
        let x = x[primal_index(index, image_len, p.repeats as usize)];
        write[index] = slope(p.activation, x) * tangent[index];
    }
}
