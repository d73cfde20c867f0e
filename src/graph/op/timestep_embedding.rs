//! Embeddings of timesteps.

use std::f64::consts::TAU;

use super::operands::operands;
use super::{At, MapStorage, Operator, Rule, Value, require};
use crate::error::Result;
use crate::graph::lower::{Lowering, whole};
use crate::graph::reference::{Array, Evaluation, from_pixels};
use crate::graph::tangent::{Transform, no_rule};
use crate::kernels::timestep_embedding;
use crate::tensor::Shape;

/// Sines and cosines of t * frequency for the timestep of each image: (n, 1, 1, dim).
#[derive(Clone, Debug, PartialEq)]
pub struct TimestepEmbedding {
    /// Timesteps split in three (see [`crate::kernels::timestep_embedding`]): (n, 1, 1, 3).
    pub x: Value,
    /// Turns per unit of t.
    pub frequencies: Vec<f64>,
    /// Channels of the result; a last odd channel is zero.
    pub dim: usize,
    /// Cosines before sines.
    pub flip: bool,
}
operands!(TimestepEmbedding { x, frequencies, dim, flip });

impl Operator for TimestepEmbedding {
    fn check(&self, at: &At) -> std::result::Result<(), Rule> {
        require(at.of(self.x) == Shape::vector(at.shape.n, 3), "timesteps are split in three")?;
        require(at.shape == Shape::vector(at.shape.n, self.dim), "an embedding is one vector per image")?;
        require(self.frequencies.len() == self.dim / 2, "there are as many frequencies as pairs of channels")
    }

    fn multiply_adds(&self, _: &At) -> usize {
        0
    }

    fn storage(&self) -> MapStorage {
        MapStorage::Full
    }

    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array> {
        let x = evaluation.value(self.x);
        Ok(from_pixels(Shape::vector(shape.n, self.dim), |image, _, _| {
            let t: f64 = x.row(image).iter().sum();
            let angles: Vec<f64> = self.frequencies.iter().map(|turns| TAU * (t * turns)).collect();
            let sines = angles.iter().map(|angle| angle.sin());
            let cosines = angles.iter().map(|angle| angle.cos());
            let mut row: Vec<f64> =
                if self.flip { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
            row.resize(self.dim, 0.0);
            row
        }))
    }

    fn lower(&self, at: &At, to: &mut Lowering) {
        let embedding = timestep_embedding::TimestepEmbedding { images: at.shape.n, dim: self.dim, flip: self.flip };
        let table = to.table(timestep_embedding::table(&self.frequencies));
        to.step(at, embedding.dispatch(to.family), vec![whole(self.x), table]);
    }

    fn tangent(&self, at: &At, _: &mut Transform) -> Result<(Value, Value)> {
        Err(no_rule(at))
    }
}
