//! How a denoiser's answer changes with the image: products of vectors and the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma).
//!
//! For the posterior mean the Jacobian is the posterior covariance over sigma^2, symmetric and not negative; a network's is
//! neither by construction. [`NetworkJacobian`] is exact, by the tangents of the network's graph; [`Differences`] asks any
//! denoiser twice for each vector.

use std::cell::RefCell;

use super::diffusion::{NoiseTable, PredictionType};
use super::network::open_net;
use super::{Denoiser, Level};
use crate::checkpoint::{ModelFiles, Weights};
use crate::error::{Error, Result};
use crate::graph::tangent::{tangent_name, tangents};
use crate::graph::{Compiler, Program};
use crate::nets::unet2d::{UNet2d, names};
use crate::spectral::SymmetricOperator;
use crate::tensor::Tensor;

/// Where a Jacobian is taken.
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

    /// J v for each row of `vectors`, (b, c h w), in their order.
    ///
    /// # Errors
    /// Whatever the denoiser reports.
    fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor>;
}

/// The exact Jacobian of a network on a device.
pub struct NetworkJacobian<'e> {
    net: UNet2d,
    weights: Weights,
    program: Program<'e>,
    table: NoiseTable,
    prediction: PredictionType,
    block: usize,
    image: [usize; 3],
}

impl<'e> NetworkJacobian<'e> {
    /// Makes the network of `model` ready for products with `block` vectors at a call, on images of `size` (height, width). `table`
    /// and `prediction` as for [`super::network::Network::new`].
    ///
    /// # Errors
    /// As [`super::network::Network::new`]; [`Error::Argument`] for a network that is no denoiser, or that needs class labels.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        model: ModelFiles,
        table: NoiseTable,
        prediction: PredictionType,
        block: usize,
        size: (usize, usize),
    ) -> Result<Self> {
        let net = open_net(&model)?;
        let config = net.config();
        if config.in_channels != config.out_channels {
            let what = format!("a network of {} channels in and {} out", config.in_channels, config.out_channels);
            return Err(Error::argument(what, "only networks that answer as many channels as they read are denoisers"));
        }
        let image = [config.in_channels, size.0, size.1];
        let graph = tangents(&net.graph(1, size.0, size.1)?, names::X, block)?;
        let weights = model.weights;
        let program = compiler.into().program(&graph, &|key, shape| weights.fetch(key, shape))?;
        Ok(Self { net, weights, program, table, prediction, block: block.max(1), image })
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

    /// With z = sqrt(alpha bar) x the chain rule gives the network sqrt(alpha bar) v; eps is linear in its answer and in z.
    fn products(&self, place: &Place, vectors: &Tensor) -> Result<Tensor> {
        let [c, h, w] = self.image;
        let len = c * h * w;
        let alpha_bar = place.level.alpha_bar();
        let scaled = |values: &[f32]| -> Vec<f32> {
            values.iter().map(|value| (f64::from(*value) * alpha_bar.sqrt()) as f32).collect()
        };
        let z = Tensor::new([1, c, h, w], scaled(&place.x.data));
        let timestep = place.level.called_at(&self.table);
        let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
        let feeds = self.net.feeds(&z, &[timestep], None, &fetch)?;
        let mut products = Vec::with_capacity(vectors.data.len());
        for block in vectors.data.chunks(self.block * len) {
            let mut directions = scaled(block);
            directions.resize(self.block * len, 0.0);
            let tangent = (tangent_name(names::X), Tensor::new([self.block, c, h, w], directions));
            let inputs: Vec<_> = feeds.iter().chain([&tangent]).map(|(name, fed)| (name.as_str(), fed)).collect();
            // The second output is the tangent of the first.
            let moved = self.program.run(&inputs)?.swap_remove(1);
            for ((out, z), v) in moved.data.iter().zip(&tangent.1.data).zip(block) {
                let eps = self.prediction.eps(f64::from(*out), f64::from(*z), alpha_bar);
                products.push((f64::from(*v) - place.level.sigma * eps) as f32);
            }
        }
        Ok(Tensor::new(vectors.shape.clone(), products))
    }
}

/// The Jacobian of any denoiser by central differences: exact but for rounding where x0 is linear in x.
pub struct Differences<'a> {
    denoiser: RefCell<&'a mut dyn Denoiser>,
    /// Half the distance of two calls for a vector of length 1, at a noise level.
    step: &'a dyn Fn(f64) -> f64,
}

impl<'a> Differences<'a> {
    /// Of `denoiser`, moved by `step(sigma)` to both sides along each vector, over its length.
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
                // What was moved, as float32 has it.
                let moved = f64::from(*to) - f64::from(*from);
                let product = if step > 0.0 { (moved - place.level.sigma * eps) / (2.0 * step) } else { f64::from(*v) };
                products.push(product as f32);
            }
        }
        Ok(Tensor::new(vectors.shape.clone(), products))
    }
}

/// A Jacobian at a place, as what solvers apply. It is symmetric only as far as the denoiser is a posterior mean:
/// [`crate::spectral::arnoldi`] takes it for what it is.
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
