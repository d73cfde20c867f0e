//! Tokens to patches of pixels.

use super::operands::operands;
use super::{At, Conv2d, Epilogue, MapStorage, Operator, Rule, Value, Weight, WeightForm, WeightSource, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::Transform;
use crate::kernels::unpatchify;
use crate::tensor::Shape;

/// Each token becomes a patch of `side` x `side` pixels: pixel (i side + p, j side + q) is the channels of token (i, j)
/// from (p side + q) c on.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpatchify {
    /// The tokens, a map with `side` times fewer rows and columns.
    pub x: Value,
    /// Height and width of a patch.
    pub side: usize,
}
operands!(Unpatchify { x, side });

impl Operator for Unpatchify {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let Shape { n, h, w, c } = at.of(self.x);
        let patches = Shape::new(n, h * self.side, w * self.side, at.shape.c);
        require(patches == at.shape, "a token becomes a patch")?;
        require(c == self.side * self.side * at.shape.c, "a token holds the channels of all pixels of its patch")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let (x, side) = (evaluation.value(self.x), self.side);
        Ok(from_pixels(shape, |image, y, column| {
            let first = (y % side * side + column % side) * shape.c;
            let token = x.pixel(image, Some(y / side), Some(column / side)).unwrap_or(&[]);
            token.iter().skip(first).take(shape.c).copied().collect()
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let unpatchify = unpatchify::Unpatchify { y: at.shape, side: self.side };
        to.step(at, unpatchify.dispatch(to.family), vec![whole(self.x)]);
    }

    /// Patches to tokens: a convolution whose kernel takes each number to its place.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let (side, input, shape) = (self.side, at.shape.c, at.of(self.x));
        let mut taps = vec![0.0; shape.c * input * side * side];
        for out in 0..shape.c {
            // Token channel (p side + q) c + channel reads pixel (p, q).
            let (tap, channel) = (out / input, out % input);
            taps[(out * input + channel) * side * side + tap] = 1.0;
        }
        let form = WeightForm::Kernel { out: shape.c, input, height: side, width: side, heads: None };
        let weight = Weight { name: "patches to tokens".into(), source: WeightSource::Constant(taps), form };
        let weight = to.weight(weight);
        let op = Conv2d { x: adjoint, weight, stride: side, pad: (0, 0), epilogue: Epilogue::default() };
        let through = to.push(op, shape, at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, side: self.side }, at)))
    }
}
