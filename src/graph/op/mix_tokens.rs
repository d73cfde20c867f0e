//! Sums of pixels with fixed factors.

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::Transform;
use crate::kernels::matmul::{MatMul, Strides};
use crate::tensor::{Shape, TEXEL};

/// Each pixel of the result is a sum of the pixels of x, the same for every channel and image: `y[i] = sum over j of
/// factors[i, j] x[j]`, pixels counted row by row. Means over a map, and a token that is put in front of others or
/// taken out of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MixTokens {
    /// The map.
    pub x: Value,
    /// One row of factors per pixel of the result.
    pub factors: Vec<f32>,
}
operands!(MixTokens { x, factors });

impl Operator for MixTokens {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let x = at.of(self.x);
        require((x.n, x.c) == (at.shape.n, at.shape.c), "images and channels are kept")?;
        require(self.factors.len() == x.pixels() * at.shape.pixels(), "there is a factor for each pair of pixels")
    }

    fn multiply_adds(&self, at: &At) -> usize {
        at.of(self.x).pixels() * at.shape.rows() * at.shape.c
    }

    fn storage(&self) -> MapStorage {
        MapStorage::FullGraph
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        let pixels = x.shape.pixels();
        let mut y = Array { shape, data: vec![0.0; shape.rows() * shape.c] };
        for (row, sums) in y.data.chunks_mut(shape.c).enumerate() {
            let (image, pixel) = (row / shape.pixels(), row % shape.pixels());
            for (from, factor) in self.factors[pixel * pixels..][..pixels].iter().enumerate() {
                let values = x.row(image * pixels + from);
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*factor) * value);
            }
        }
        Ok(y)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let (x, y) = (at.of(self.x), at.shape);
        let (pixels, padded) = (x.pixels(), x.pixels().next_multiple_of(TEXEL));
        let padding = std::iter::repeat_n(0.0, padded - pixels);
        let rows = self.factors.chunks(pixels).flat_map(|row| row.iter().copied().chain(padding.clone()));
        let factors = to.table(rows.collect());
        let strides = |shape: Shape| Strides { row: shape.c4(), image: shape.pixels() * shape.c4(), head: 0 };
        let product = MatMul {
            batch: (x.n, 1),
            a: Strides { row: padded / TEXEL, image: 0, head: 0 },
            b: strides(x),
            y: strides(y),
            ..MatMul::plain(1, y.pixels(), pixels, y.c)
        };
        to.multiply(at, product, MatMul::reads(factors, whole(self.x)).to_vec());
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x, factors: self.factors.clone() }, at)))
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let (rows, columns) = (at.shape.pixels(), at.of(self.x).pixels());
        let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
        let factors = turned.map(|at| self.factors[at]).collect();
        let shape = at.of(self.x);
        let through = to.push(Self { x: adjoint, factors }, shape, at);
        to.add(self.x, through, at)
    }
}
