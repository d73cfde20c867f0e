//! Operators on single values: activations and sums.

use super::activation::{Activation, activate, activation_code};
use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y = act(x)`. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Activate {
    /// Texels of x and y.
    pub texels: usize,
    /// The nonlinearity.
    pub activation: Activation,
}

/// `y = (a + b) * scale`. Reads a, b; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Add {
    /// The shape of a and y.
    pub shape: Shape,
    /// `true` if b is one vector over the channels per image; otherwise it is a map of a's shape.
    pub per_image: bool,
    /// Multiplies the sum.
    pub scale: f32,
}

parameters! {
    /// The parameters of `activate.wgsl`, and the activation, which is a constant of the shader.
    struct ActivateParams {
        texels: u32,
        activation: u32,
    }
}

parameters! {
    /// The parameters of `add.wgsl`.
    struct AddParams {
        texels: u32,
        image_texels: u32,
        c4: u32,
        per_image: u32,
        scale: f32,
    }
}

static ACTIVATE: Kernel = kernel!("activate", ActivateParams, activate_twin);
static ADD: Kernel = kernel!("add", AddParams, add_twin);

impl Activate {
    /// The dispatch of this nonlinearity.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = ActivateParams { texels: self.texels as u32, activation: activation_code(Some(self.activation)) };
        let shader = family.shader(&ACTIVATE, vec![("ACTIVATION", params.activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        Activation::ALL.map(|activation| Self { texels: 1, activation }.dispatch(family).shader).to_vec()
    }
}

impl Add {
    /// The dispatch of this sum.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let texels = self.shape.texels();
        let params = AddParams {
            texels: texels as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            c4: self.shape.c4() as u32,
            per_image: u32::from(self.per_image),
            scale: self.scale,
        };
        Dispatch { shader: family.shader(&ADD, vec![]), params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&ADD, vec![])]
    }
}

fn activate_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: ActivateParams = params(words);
    let [x] = reads else { return };
    for (y, x) in write.iter_mut().zip(*x).take(p.texels as usize * TEXEL) {
        *y = activate(p.activation, *x);
    }
}

fn add_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: AddParams = params(words);
    let [a, b] = reads else { return };
    let (padded, image_values) = (p.c4 as usize * TEXEL, p.image_texels as usize * TEXEL);
    for index in 0..p.texels as usize * TEXEL {
        let of_b = if p.per_image != 0 { index / image_values * padded + index % padded } else { index };
        write[index] = (a[index] + b[of_b]) * p.scale;
    }
}
