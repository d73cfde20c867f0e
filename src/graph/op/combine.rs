//! Linear combinations of maps.

use super::operands::operands;
use super::{At, Channels, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::adjoint::{self, PullBack};
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::combine;
use crate::tensor::Shape;

/// The sampler update: `offset + sum_i coefficients[n][i] * terms[i]` for each image n; the first term is clamped to
/// +-`clip` before it is used, where given.
///
/// In a graph of tangents a term may have several images for each of the coefficients', one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    /// A vector of up to four numbers per image.
    pub coefficients: Value,
    /// One to four maps of one shape.
    pub terms: Vec<Value>,
    /// The bound of the first term.
    pub clip: Option<f32>,
    /// Added to every value.
    pub offset: f32,
}
operands!(Combine { coefficients, terms, clip, offset });

/// The most terms of a combination.
const MOST_TERMS: usize = 4;

impl Operator for Combine {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require((1..=MOST_TERMS).contains(&self.terms.len()), "one to four terms are combined")?;
        require(self.terms.iter().all(|term| at.of(*term) == at.shape), "terms have the shape of the result")?;
        let coefficients = at.of(self.coefficients);
        let one_each = coefficients.pixels() == 1 && coefficients.c >= self.terms.len();
        require(one_each && at.shape.n.is_multiple_of(coefficients.n), "each image has a coefficient for each term")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Full
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let coefficients = evaluation.value(self.coefficients);
        let mut sum = Array { shape, data: vec![f64::from(self.offset); shape.rows() * shape.c] };
        // Several images may share coefficients.
        let image_len = shape.pixels() * shape.c * (shape.n / coefficients.shape.n);
        for (term, value) in self.terms.iter().enumerate() {
            let limit = self.clip.filter(|_| term == 0).map_or(f64::INFINITY, f64::from);
            for (index, (sum, x)) in sum.data.iter_mut().zip(&evaluation.value(*value).data).enumerate() {
                *sum += coefficients.row(index / image_len)[term] * x.clamp(-limit, limit);
            }
        }
        Ok(sum)
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        // Images that share coefficients count as one taller image.
        let images = at.of(self.coefficients).n;
        let shape = Shape { n: images, h: at.shape.n / images * at.shape.h, ..at.shape };
        let combine = combine::Combine { shape, terms: self.terms.len(), clip: self.clip, offset: self.offset };
        let mut reads = vec![whole(self.coefficients)];
        reads.extend((0..MOST_TERMS).map(|term| whole(*self.terms.get(term).unwrap_or(&self.terms[0]))));
        to.step(at, combine.dispatch(to.family), reads);
    }

    /// Linear in the terms, where none is clamped.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        if self.clip.is_some() || to.depends(self.coefficients) {
            return Err(adjoint::no_rule(at));
        }
        for (index, term) in self.terms.iter().enumerate().filter(|(_, term)| to.depends(**term)).collect::<Vec<_>>() {
            let of = at.of(self.coefficients);
            let coefficients = if index == 0 {
                self.coefficients
            } else {
                to.push(Channels { x: self.coefficients, first: index }, Shape { c: 1, ..of }, at)
            };
            let op = Self { coefficients, terms: vec![adjoint], clip: None, offset: 0.0 };
            let through = to.push(op, at.shape, at);
            to.add(*term, through, at)?;
        }
        Ok(())
    }

    /// Linear in the terms, where none is clamped.
    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)> {
        if self.clip.is_some() || to.tangent(self.coefficients).is_some() {
            return Err(no_rule(at));
        }
        let value = to.copy(self, at);
        let terms = self.terms.iter().map(|term| to.need(*term, at)).collect::<Result<_>>()?;
        let coefficients = to.value(self.coefficients);
        Ok((value, to.push(Self { coefficients, terms, clip: None, offset: 0.0 }, at)))
    }
}
