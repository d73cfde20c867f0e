//! Products of vectors and the transposed Jacobian of x0(x, sigma) = x - sigma eps(x, sigma), image by image: the
//! gradients with respect to x of functions of x0 (reverse-mode differentiation). Methods for inverse problems that
//! guide a walk by how x0 fits a measurement need one per step (Chung et al., 2023; Song et al., 2023).
//!
//! [`NetworkVjp`] is exact, by the adjoints of the network's graph. The Jacobian of a posterior mean is symmetric, so
//! that [`Symmetric`] differences do for closed forms.

use std::sync::Arc;

use super::diffusion::{NoiseTable, PredictionType};
use super::guidance::Guidance;
use super::network::{batch_feeds, rows};
use super::{Denoiser, Level, scaling};
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::adjoint::{adjoint_name, adjoints};
use crate::graph::{Compiler, Program};
use crate::nets::architecture::Architecture;
use crate::nets::feeds::names;
use crate::tensor::Tensor;

/// The transposed Jacobian of the x0 of a denoiser.
pub trait Pullback: Send {
    /// Returns J' v for each image of `x`, (n, c, h, w) in the variance-exploding scale, at its level; v are `vectors`
    /// of the shape of `x`. `denoiser` is the one whose Jacobian it is, for those that call it.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of levels or vectors than of images, and for an infinite sigma; the
    /// errors of the denoiser.
    fn transposed(
        &mut self,
        denoiser: &mut dyn Denoiser,
        x: &Tensor,
        levels: &[Level],
        vectors: &Tensor,
    ) -> Result<Tensor>;
}

/// The settings of a [`NetworkVjp`].
#[derive(Clone, Debug)]
pub struct VjpSettings {
    /// The noise levels of the network's training.
    pub table: NoiseTable,
    /// The form of its output.
    pub prediction: PredictionType,
    /// The conditions of the images.
    pub guidance: Guidance,
    /// Height and width of an image.
    pub size: (usize, usize),
    /// Images per call, at least 1.
    pub images: usize,
}

/// The exact transposed Jacobian of a network on a device.
pub struct NetworkVjp<'e> {
    net: Arc<dyn Architecture>,
    weights: Weights,
    program: Program<'e>,
    settings: VjpSettings,
    image: [usize; 3],
}

/// Refuses guidance whose output is not linear in those of the conditions, or is not one output.
fn expect_plain(guidance: &Guidance) -> Result<()> {
    if guidance.rule.is_plain() {
        return Ok(());
    }
    Err(Error::argument("a product with the transposed Jacobian of guidance in another form", "leave its rule plain"))
}

impl<'e> NetworkVjp<'e> {
    /// Puts the network and its adjoints on the device.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network that is not a denoiser, a condition or a size that it does not take, and
    /// operators without a rule for adjoints; what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        net: Arc<dyn Architecture>,
        weights: Weights,
        settings: VjpSettings,
    ) -> Result<Self> {
        if !net.is_denoiser() {
            let what = format!("a network with {} input and {} output channels", net.in_channels(), net.out_channels());
            return Err(Error::argument(what, "a denoiser has as many channels in its output as in its input"));
        }
        settings.guidance.check(net.as_ref())?;
        expect_plain(&settings.guidance)?;
        let settings = VjpSettings { images: settings.images.max(1), ..settings };
        // The conditions are called one after the other.
        let one = Guidance::none(settings.guidance.conditional.clone());
        let size = one.call_size(settings.images, settings.size);
        let graph = adjoints(&net.graph(size)?, names::X)?;
        let program = compiler.into().program(&graph, &|key, shape| weights.fetch(key, shape))?;
        let image = [net.in_channels(), size.height, size.width];
        Ok(Self { net, weights, program, settings, image })
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }

    /// (channels, height, width) of an image.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    /// Replaces the conditions, for calls of the same size as before.
    ///
    /// # Errors
    /// [`Error::Argument`] for conditions that the network does not take.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<()> {
        guidance.check(self.net.as_ref())?;
        expect_plain(&guidance)?;
        self.settings.guidance = guidance;
        Ok(())
    }

    /// Returns N' v for the network's guided output N in its own scale, at inputs `z`.
    fn outputs(&self, z: &Tensor, timesteps: &[f64], vectors: &Tensor) -> Result<Vec<f64>> {
        let (images, len) = (z.shape[0], z.stride());
        let Guidance { scale, .. } = self.settings.guidance;
        let conditions = self.settings.guidance.conditions();
        // As guidance weighs them, the conditional one first.
        let weights: &[f64] = if conditions == 1 { &[1.0] } else { &[scale, 1.0 - scale] };
        let [_, height, width] = self.image;
        let (batch, channels) = (self.settings.images, self.net.out_channels());
        let mut sums = vec![0.0; z.data.len()];
        for first in (0..images).step_by(batch) {
            // A batch that is not full repeats its last image.
            let picks: Vec<usize> = (first..first + batch).map(|image| image.min(images - 1)).collect();
            let filled = batch.min(images - first) * len;
            let given = rows(vectors, &picks);
            for (condition, weight) in self.settings.guidance.each().zip(weights) {
                let mut seed = Tensor::zeros([batch, channels, height, width]);
                // The channels of a learned variance are not denoised.
                let stride = seed.stride();
                for (seed, given) in seed.data.chunks_mut(stride).zip(given.data.chunks(len)) {
                    seed[..len].copy_from_slice(given);
                }
                let feeds = batch_feeds(self.net.as_ref(), &self.weights, &condition.inputs(z, timesteps), &picks)?;
                let seed = (adjoint_name(names::SAMPLE), seed);
                let inputs: Vec<_> = feeds.iter().chain([&seed]).map(|(name, fed)| (name.as_str(), fed)).collect();
                // The second output is the adjoint of the images.
                let product = self.program.run(&inputs)?.swap_remove(1);
                let sums = &mut sums[first * len..][..filled];
                sums.iter_mut().zip(&product.data).for_each(|(sum, value)| *sum += weight * f64::from(*value));
            }
        }
        Ok(sums)
    }

    /// As [`Pullback::transposed`], without a denoiser.
    ///
    /// # Errors
    /// As there.
    pub fn products(&self, x: &Tensor, levels: &[Level], vectors: &Tensor) -> Result<Tensor> {
        check(x, levels, vectors, self.image)?;
        let VjpSettings { table, prediction, .. } = &self.settings;
        let (z, timesteps) = scaling::input(table, x, levels);
        let mut products = self.outputs(&z, &timesteps, vectors)?;
        let process = table.process();
        let images = products.chunks_mut(x.stride().max(1)).zip(vectors.data.chunks(x.stride().max(1)));
        for ((products, vectors), level) in images.zip(levels) {
            let sigma = level.sigma;
            // z = c x, and eps is linear in the output and in z.
            let scale = process.input_scale(sigma);
            let of_output = process.parts(*prediction, 1.0, 0.0, sigma).0;
            let of_input = process.parts(*prediction, 0.0, 1.0, sigma).0;
            for (product, v) in products.iter_mut().zip(vectors) {
                let eps = of_output * *product + of_input * f64::from(*v);
                *product = f64::from(*v) - sigma * scale * eps;
            }
        }
        Ok(Tensor::new(x.shape.clone(), products.into_iter().map(|value| value as f32).collect::<Vec<_>>()))
    }
}

impl Pullback for NetworkVjp<'_> {
    fn transposed(&mut self, _: &mut dyn Denoiser, x: &Tensor, levels: &[Level], vectors: &Tensor) -> Result<Tensor> {
        self.products(x, levels, vectors)
    }
}

/// The Jacobian of a denoiser with a symmetric one, by central differences along each vector: exact but for rounding
/// where x0 is linear in x, and two calls per vector.
pub struct Symmetric<'a> {
    step: &'a (dyn Fn(f64) -> f64 + Sync),
}

impl<'a> Symmetric<'a> {
    /// Differences of images moved to both sides along each vector, by `step(sigma)` over the vector's length.
    #[must_use]
    pub fn new(step: &'a (dyn Fn(f64) -> f64 + Sync)) -> Self {
        Self { step }
    }
}

impl Pullback for Symmetric<'_> {
    fn transposed(
        &mut self,
        denoiser: &mut dyn Denoiser,
        x: &Tensor,
        levels: &[Level],
        vectors: &Tensor,
    ) -> Result<Tensor> {
        check(x, levels, vectors, denoiser.image_shape())?;
        let len = x.stride().max(1);
        let (mut points, mut at, mut steps) = (Vec::with_capacity(2 * x.data.len()), Vec::new(), Vec::new());
        for ((x, vector), level) in x.data.chunks(len).zip(vectors.data.chunks(len)).zip(levels) {
            let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let step = if length > 0.0 { (self.step)(level.sigma) / length } else { 0.0 };
            for side in [step, -step] {
                points.extend(x.iter().zip(vector).map(|(x, v)| (f64::from(*x) + side * f64::from(*v)) as f32));
                at.push(*level);
            }
            steps.push(step);
        }
        let shape = [&[at.len()], &x.shape[1..]].concat();
        let points = Tensor::new(shape, points);
        let (_, x0) = denoiser.parts(&points, &at)?;
        let product = |(image, step): (usize, &f64)| {
            let (above, below) = (x0.item(2 * image), x0.item(2 * image + 1));
            let scale = if *step > 0.0 { 0.5 / step } else { 0.0 };
            let moved = above.iter().zip(below).map(move |(a, b)| ((f64::from(*a) - f64::from(*b)) * scale) as f32);
            moved.collect::<Vec<_>>()
        };
        Ok(Tensor::new(x.shape.clone(), steps.iter().enumerate().flat_map(product).collect::<Vec<_>>()))
    }
}

fn check(x: &Tensor, levels: &[Level], vectors: &Tensor, image: [usize; 3]) -> Result<()> {
    if x.shape.len() != 4 || x.shape[1..] != image || vectors.shape != x.shape || levels.len() != x.shape[0] {
        let (x, v, count) = (&x.shape, &vectors.shape, levels.len());
        let what = format!("images of shape {x:?} with vectors of shape {v:?} at {count} levels, for {image:?}");
        return Err(Error::argument(what, "give one vector of an image's shape and one level per image"));
    }
    if let Some(level) = levels.iter().find(|level| !(level.sigma.is_finite() && level.sigma > 0.0)) {
        let what = format!("a Jacobian at a sigma of {}", level.sigma);
        return Err(Error::argument(what, "take a finite sigma above 0"));
    }
    Ok(())
}
