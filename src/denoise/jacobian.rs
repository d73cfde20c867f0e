//! Jacobians of denoisers: products of vectors and the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma).
//!
//! For the posterior mean the Jacobian is the posterior covariance over sigma^2, symmetric and positive semidefinite;
//! that of a network is neither by construction. [`NetworkJacobian`] is exact, by the tangents of the network's graph;
//! [`Differences`] calls any denoiser twice per vector.

use std::cell::RefCell;
use std::sync::Arc;

use super::diffusion::{NoiseTable, PredictionType};
use super::guidance::{Condition, Guidance};
use super::{Denoiser, Level};
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::tangent::{tangent_name, tangents};
use crate::graph::{Compiler, Program};
use crate::nets::architecture::Architecture;
use crate::nets::feeds::names;
use crate::spectral::SymmetricOperator;
use crate::tensor::Tensor;

/// The point at which a Jacobian is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The image, (1, c, h, w), in the variance-exploding scale.
    pub x: Tensor,
    /// Its noise level.
    pub level: Level,
}

/// The Jacobian of x0(x, sigma) in x.
pub trait Jacobian {
    /// (channels, height, width) of an image.
    fn image_shape(&self) -> [usize; 3];

    /// Returns J v for each row of `vectors`, (b, c h w), in their order.
    ///
    /// # Errors
    /// The errors of the denoiser.
    fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor>;
}

/// The settings of a [`NetworkJacobian`].
#[derive(Clone, Debug)]
pub struct JacobianSettings {
    /// The noise levels of the network's training.
    pub table: NoiseTable,
    /// The form of its output.
    pub prediction: PredictionType,
    /// The condition of the one image.
    pub condition: Condition,
    /// Height and width of the image.
    pub size: (usize, usize),
    /// Vectors per call, at least 1.
    pub block: usize,
}

/// The exact Jacobian of a network on a device.
pub struct NetworkJacobian<'e> {
    net: Arc<dyn Architecture>,
    weights: Weights,
    program: Program<'e>,
    settings: JacobianSettings,
    image: [usize; 3],
}

impl<'e> NetworkJacobian<'e> {
    /// Puts the network and its tangents on the device.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network that is not a denoiser, a condition or a size that it does not take, and
    /// operators without a tangent rule; what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        net: Arc<dyn Architecture>,
        weights: Weights,
        settings: JacobianSettings,
    ) -> Result<Self> {
        if !net.is_denoiser() {
            let what = format!("a network with {} input and {} output channels", net.in_channels(), net.out_channels());
            return Err(Error::argument(what, "a denoiser has as many channels in its output as in its input"));
        }
        settings.condition.check(net.as_ref())?;
        let settings = JacobianSettings { block: settings.block.max(1), ..settings };
        let size = Guidance::none(settings.condition.clone()).call_size(1, settings.size);
        let graph = tangents(&net.graph(size)?, names::X, settings.block)?;
        let program = compiler.into().program(&graph, &|key, shape| weights.fetch(key, shape))?;
        let image = [net.in_channels(), size.height, size.width];
        Ok(Self { net, weights, program, settings, image })
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }
}

impl Jacobian for NetworkJacobian<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    /// With the network's input z = c x, the chain rule gives the network c v; eps is linear in its output and in z.
    fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor> {
        let [c, h, w] = self.image;
        let len = c * h * w;
        let (process, sigma) = (self.settings.table.process(), place.level.sigma);
        let scale = process.input_scale(sigma);
        let scaled =
            |values: &[f32]| -> Vec<f32> { values.iter().map(|value| (f64::from(*value) * scale) as f32).collect() };
        let z = Tensor::new([1, c, h, w], scaled(&place.x.data));
        let JacobianSettings { table, prediction, condition, block: count, .. } = &self.settings;
        let timesteps = [place.level.called_at(table)];
        let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
        let feeds = self.net.feeds(&condition.inputs(&z, &timesteps), &fetch)?;
        let mut products = Vec::with_capacity(vectors.data.len());
        for block in vectors.data.chunks(count * len) {
            let mut directions = scaled(block);
            directions.resize(count * len, 0.0);
            let tangent = (tangent_name(names::X), Tensor::new([*count, c, h, w], directions));
            let inputs: Vec<_> = feeds.iter().chain([&tangent]).map(|(name, fed)| (name.as_str(), fed)).collect();
            // The second output is the tangent of the first.
            let moved = self.program.run(&inputs)?.swap_remove(1);
            // A learned variance comes after the prediction.
            let predicted = moved.data.chunks(moved.stride()).flat_map(|output| &output[..len]);
            for ((out, z), v) in predicted.zip(&tangent.1.data).zip(block) {
                let (eps, _) = process.parts(*prediction, f64::from(*out), f64::from(*z), sigma);
                products.push((f64::from(*v) - sigma * eps) as f32);
            }
        }
        Ok(Tensor::new(vectors.shape.clone(), products))
    }
}

/// The Jacobian of any denoiser by central differences: exact but for rounding where x0 is linear in x.
pub struct Differences<'a> {
    denoiser: RefCell<&'a mut dyn Denoiser>,
    /// Half the distance of the two images for a vector of length 1, at a noise level.
    step: &'a dyn Fn(f64) -> f64,
}

impl<'a> Differences<'a> {
    /// Differences of `denoiser` between images moved to both sides along each vector, by `step(sigma)` over the
    /// vector's length.
    pub fn new(denoiser: &'a mut dyn Denoiser, step: &'a dyn Fn(f64) -> f64) -> Self {
        Self { denoiser: RefCell::new(denoiser), step }
    }
}

impl Jacobian for Differences<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.denoiser.borrow().image_shape()
    }

    fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor> {
        let [c, h, w] = self.image_shape();
        let len = c * h * w;
        let mut points = Vec::with_capacity(2 * vectors.data.len());
        let mut steps = Vec::with_capacity(vectors.shape[0]);
        for vector in vectors.data.chunks(len) {
            let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let step = if length > 0.0 { (self.step)(place.level.sigma) / length } else { 0.0 };
            for side in [step, -step] {
                let moved = place.x.data.iter().zip(vector).map(|(x, v)| f64::from(*x) + side * f64::from(*v));
                points.extend(moved.map(|value| value as f32));
            }
            steps.push(step);
        }
        let points = Tensor::new([2 * steps.len(), c, h, w], points);
        let eps = self.denoiser.borrow_mut().eps(&points, &vec![place.level; points.shape[0]])?;
        let mut products = Vec::with_capacity(vectors.data.len());
        for (at, (vector, step)) in vectors.data.chunks(len).zip(steps).enumerate() {
            let (above, below) = (eps.item(2 * at), eps.item(2 * at + 1));
            let (from, to) = (points.item(2 * at + 1), points.item(2 * at));
            for (((above, below), (from, to)), v) in above.iter().zip(below).zip(from.iter().zip(to)).zip(vector) {
                let eps = f64::from(*above) - f64::from(*below);
                // The distance moved, as rounded to float32.
                let moved = f64::from(*to) - f64::from(*from);
                let product = if step > 0.0 { (moved - place.level.sigma * eps) / (2.0 * step) } else { f64::from(*v) };
                products.push(product as f32);
            }
        }
        Ok(Tensor::new(vectors.shape.clone(), products))
    }
}

/// A Jacobian at a place, as an operator for eigensolvers. It is symmetric only as far as the denoiser is a posterior
/// mean; [`crate::spectral::arnoldi`] does not assume symmetry.
pub struct JacobianAt<'a> {
    jacobian: &'a dyn Jacobian,
    place: &'a Place,
}

impl<'a> JacobianAt<'a> {
    /// `jacobian` at `place`.
    #[must_use]
    pub fn new(jacobian: &'a dyn Jacobian, place: &'a Place) -> Self {
        Self { jacobian, place }
    }
}

impl SymmetricOperator for JacobianAt<'_> {
    fn dimension(&self) -> usize {
        self.jacobian.image_shape().iter().product()
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        self.jacobian.products(self.place, vectors)
    }
}
