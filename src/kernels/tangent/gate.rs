//! The tangent and the adjoint of a gated linear unit, `y = x[.., first half] * act(x[.., second half])`. Each half of
//! a pixel's channels of x is padded with zeros to whole texels.

use super::primal_index;
use crate::kernels::activation::{Activation, activate, activation_code, slope};
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// The tangent of y. Reads x, tangent (shaped like x); writes y.
#[derive(Clone, Copy, Debug)]
pub struct GateTangent {
    /// The shape of the result; x and the tangent have twice the texels of a pixel.
    pub shape: Shape,
    /// Images of the tangent for each of x.
    pub repeats: usize,
    /// The nonlinearity of the gate.
    pub activation: Activation,
}

/// The adjoint of x. Reads x, adjoint (that of y); writes a map of the texels of x.
#[derive(Clone, Copy, Debug)]
pub struct GateAdjoint {
    /// The shape of the adjoint; x and the result have twice the texels of a pixel.
    pub shape: Shape,
    /// The nonlinearity of the gate.
    pub activation: Activation,
}

parameters! {
    /// The parameters of `gate_tangent.wgsl`, and the activation, which is a constant of the shader.
    struct TangentParams {
        texels: u32,
        c4: u32,
        image_texels: u32,
        repeats: u32,
        activation: u32,
    }
}

parameters! {
    /// The parameters of `gate_adjoint.wgsl`, and the activation, which is a constant of the shader.
    struct AdjointParams {
        texels: u32,
        c4: u32,
        activation: u32,
    }
}

static TANGENT: Kernel = kernel!("gate_tangent", TangentParams, tangent_twin);
static ADJOINT: Kernel = kernel!("gate_adjoint", AdjointParams, adjoint_twin);

impl GateTangent {
    /// The dispatch of this tangent.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = TangentParams {
            texels: self.shape.texels() as u32,
            c4: self.shape.c4() as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            repeats: self.repeats as u32,
            activation: activation_code(Some(self.activation)),
        };
        let shader = family.shader(&TANGENT, vec![("ACTIVATION", params.activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.shape.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let shape = Shape::vector(1, 1);
        Activation::ALL.map(|activation| Self { shape, repeats: 1, activation }.dispatch(family).shader).to_vec()
    }
}

impl GateAdjoint {
    /// The dispatch of this adjoint.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let texels = 2 * self.shape.texels();
        let activation = activation_code(Some(self.activation));
        let params = AdjointParams { texels: texels as u32, c4: self.shape.c4() as u32, activation };
        let shader = family.shader(&ADJOINT, vec![("ACTIVATION", activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let shape = Shape::vector(1, 1);
        Activation::ALL.map(|activation| Self { shape, activation }.dispatch(family).shader).to_vec()
    }
}

fn tangent_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: TangentParams = params(words);
    let [x, tangent] = reads else { return };
    let padded = p.c4 as usize * TEXEL;
    let image_len = p.image_texels as usize * TEXEL;
    for (index, y) in write.iter_mut().enumerate().take(p.texels as usize * TEXEL) {
        let of_y = primal_index(index, image_len, p.repeats as usize);
        let (at, moved) = (of_y + of_y / padded * padded, index + index / padded * padded);
        let (hidden, gate) = (x[at], x[at + padded]);
        let by_gate = hidden * slope(p.activation, gate) * tangent[moved + padded];
        *y = tangent[moved] * activate(p.activation, gate) + by_gate;
    }
}

fn adjoint_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: AdjointParams = params(words);
    let [x, adjoint] = reads else { return };
    let padded = p.c4 as usize * TEXEL;
    let pixels = write[..p.texels as usize * TEXEL].chunks_mut(2 * padded);
    for ((y, x), adjoint) in pixels.zip(x.chunks(2 * padded)).zip(adjoint.chunks(padded)) {
        for (at, given) in adjoint.iter().enumerate() {
            let (hidden, gate) = (x[at], x[at + padded]);
            y[at] = given * activate(p.activation, gate);
            y[at + padded] = given * hidden * slope(p.activation, gate);
        }
    }
}
