//! One half of the channels gates the other: the feed-forward layers of transformers (Shazeer, "GLU Variants Improve
//! Transformer", 2020; GEGLU with [`Activation::Gelu`]).

use super::activation::{Activation, activate, activation_code};
use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y = x[.., first half] * act(x[.., second half])`. Reads x, in which each half of a pixel's channels is padded
/// with zeros to whole texels; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The shape of y; x has twice its texels.
    pub y: Shape,
    /// The nonlinearity of the gate.
    pub activation: Activation,
}

parameters! {
    /// The parameters of `gate.wgsl`, and the activation, which is a constant of the shader.
    struct Params {
        texels: u32,
        c4: u32,
        activation: u32,
    }
}

static KERNEL: Kernel = kernel!("gate", Params, twin);

impl Gate {
    /// The dispatch of this gate.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let texels = self.y.texels();
        let activation = activation_code(Some(self.activation));
        let params = Params { texels: texels as u32, c4: self.y.c4() as u32, activation };
        let shader = family.shader(&KERNEL, vec![("ACTIVATION", activation)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        Activation::ALL.map(|activation| Self { y: Shape::vector(1, 1), activation }.dispatch(family).shader).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let padded = p.c4 as usize * TEXEL;
    for (y, x) in write.chunks_mut(padded).zip(x.chunks(2 * padded)).take((p.texels / p.c4) as usize) {
        let (hidden, gate) = x.split_at(padded);
        for ((y, hidden), gate) in y.iter_mut().zip(hidden).zip(gate) {
            *y = hidden * activate(p.activation, *gate);
        }
    }
}
