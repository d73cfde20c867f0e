//! Upsampling.

use std::collections::BTreeMap;

use super::operands::operands;
use super::{At, MapStorage, NearestSums, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::PullBack;
use crate::graph::fold::{Folding, Reader};
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::Transform;
use crate::kernels::{Family, resample};
use crate::tensor::Shape;

/// Nearest neighbours: pixel (i, j) of H x W is pixel (i * h / H, j * w / W) of x, rounded down; at twice the size each
/// pixel becomes 2 x 2.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsampleNearest {
    /// The map.
    pub x: Value,
}
operands!(UpsampleNearest { x });

impl Operator for UpsampleNearest {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        let Shape { n, c, .. } = at.of(self.x);
        require((n, c) == (at.shape.n, at.shape.c), "only height and width change")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Half
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        Ok(from_pixels(shape, |image, y, column| {
            let (y, column) = (y * x.shape.h / shape.h, column * x.shape.w / shape.w);
            x.pixel(image, Some(y), Some(column)).unwrap_or(&[]).to_vec()
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        if to.is_folded(at.value) {
            return;
        }
        let upsample = resample::UpsampleNearest { x: at.of(self.x), y: at.shape };
        to.step(at, upsample.dispatch(to.family), vec![whole(self.x)]);
    }

    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let through = to.push(NearestSums { x: adjoint }, at.of(self.x), at);
        to.add(self.x, through, at)
    }

    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        let value = to.copy(self, at);
        let x = to.need(self.x, at)?;
        Ok((value, to.push(Self { x }, at)))
    }

    /// Twice the size, read by convolutions larger than 1 x 1.
    fn fold(&self, at: &At, readers: &[Reader], _: Family) -> Option<Folding> {
        let from = at.of(self.x);
        let twice = (at.shape.h, at.shape.w) == (2 * from.h, 2 * from.w);
        let reads = |reader: &Reader| reader.convolves && !reader.is_product;
        (twice && readers.iter().all(reads)).then_some(Folding::Upsampled { x: self.x })
    }

    fn margin(&self, at: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        let (from, to) = (at.of(self.x).h, at.shape.h);
        to.is_multiple_of(from).then_some(margins.get(&self.x)? * (to / from))
    }
}
