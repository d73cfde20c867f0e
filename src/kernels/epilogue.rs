//! The end of a product before it is stored; the twin of `shaders/shared/epilogue.wgsl`.

use crate::kernels::parameters::parameters;
use crate::tensor::TEXEL;

use super::activation::{Activation, activate, activation_code};

parameters! {
    /// `y = (act(acc + bias + per_image) + residual) * scale`, as the shaders read it.
    pub struct EpilogueParams {
        flags: u32,
        scale: f32,
        per_image_row: u32,
        /// For the twin: it is a constant of the shader.
        activation: u32,
    }
}

const BIAS: u32 = 1;
const PER_IMAGE: u32 = 2;
const RESIDUAL: u32 = 4;

/// The terms of an epilogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpilogueSpec {
    /// A vector over the output channels is added.
    pub bias: bool,
    /// One vector per image is added: texels from one vector to the next.
    pub per_image: Option<usize>,
    /// Applied to the sum so far.
    pub activation: Option<Activation>,
    /// A map of the output's shape is added.
    pub residual: bool,
    /// Multiplies the result.
    pub scale: f32,
}

impl Default for EpilogueSpec {
    fn default() -> Self {
        Self { bias: false, per_image: None, activation: None, residual: false, scale: 1.0 }
    }
}

impl EpilogueSpec {
    /// One epilogue for each kind of shader: nothing, terms, terms and an activation.
    #[must_use]
    pub(super) fn kinds() -> [Self; 3] {
        let terms = Self { bias: true, ..Self::default() };
        [Self::default(), terms, Self { activation: Some(Activation::Silu), ..terms }]
    }

    /// The constants of the shaders that finish with this epilogue.
    #[must_use]
    pub fn constants(self) -> [(&'static str, u32); 2] {
        [("TERMS", u32::from(self != Self::default())), ("ACTIVATION", activation_code(self.activation))]
    }

    /// The words of the shader's `Epilogue`.
    #[must_use]
    pub fn params(self) -> EpilogueParams {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        EpilogueParams {
            flags: flag(self.bias, BIAS) | flag(self.per_image.is_some(), PER_IMAGE) | flag(self.residual, RESIDUAL),
            activation: activation_code(self.activation),
            scale: self.scale,
            per_image_row: self.per_image.unwrap_or(0) as u32,
        }
    }
}

impl EpilogueParams {
    /// The twin of `finish`: `column` is the output channel, `index` that of the value stored.
    pub(super) fn finish(
        self,
        [bias, per_image, residual]: [&[f32]; 3],
        acc: f32,
        image: usize,
        column: usize,
        index: usize,
    ) -> f32 {
        let mut v = acc;
        if self.flags & BIAS != 0 {
            v += bias[column];
        }
        if self.flags & PER_IMAGE != 0 {
            v += per_image[image * self.per_image_row as usize * TEXEL + column];
        }
        v = activate(self.activation, v);
        if self.flags & RESIDUAL != 0 {
            v += residual[index];
        }
        v * self.scale
    }
}
