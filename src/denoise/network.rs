//! A pretrained network as a denoiser: the variance-preserving scale and the timesteps it was trained in, wrapped once.

use crate::checkpoint::{Model, Weights};
use crate::denoise::Denoiser;
use crate::denoise::diffusion::{NoiseTable, PredictionType, alpha_bar_of};
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::graph::{Aliasing, Program};
use crate::kernels::Engine;
use crate::nets::unet2d::{ClassLabels, Config, UNet2d};
use crate::tensor::Tensor;

/// A `UNet2DModel` on a device, ready for calls of up to `batch` images of one size.
pub struct Network<'e> {
    net: UNet2d,
    weights: Weights,
    program: Program<'e>,
    table: NoiseTable,
    prediction: PredictionType,
    batch: usize,
    image: [usize; 3],
    out_channels: usize,
}

/// The network of a model: configuration read and checked against the weights, nothing on a device yet.
///
/// # Errors
/// [`Error::UnsupportedField`] or [`Error::BadFile`] of the configuration; [`Error::MissingKey`],
/// [`Error::UnexpectedKey`] of the weights.
pub fn open_net(model: &Model) -> Result<UNet2d> {
    model.config.expect_class(&["UNet2DModel"])?;
    let net = UNet2d::new(Config::from_map(&model.config.values, &model.config.path)?);
    model.weights.check(&net.keys())?;
    Ok(net)
}

impl<'e> Network<'e> {
    /// Makes the network of `model` ready for `batch` images of `size` (height, width) at a call. `table` and `prediction`
    /// say what the network was trained to answer; they come from the model's scheduler.
    ///
    /// # Errors
    /// As [`open_net`]; then [`Error::Usage`] for a size that the network cannot take, and what the device reports.
    pub fn new(
        engine: &'e Engine,
        model: Model,
        table: NoiseTable,
        prediction: PredictionType,
        batch: usize,
        size: (usize, usize),
    ) -> Result<Self> {
        let net = open_net(&model)?;
        let weights = model.weights;
        let graph = net.graph(batch, size.0, size.1)?;
        let program = Program::new(engine, &graph, &|key, shape| weights.fetch(key, shape), Aliasing::ByLiveness)?;
        let image = [net.config().in_channels, size.0, size.1];
        let out_channels = net.config().out_channels;
        Ok(Self { net, weights, program, table, prediction, batch, image, out_channels })
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        &self.program
    }

    /// One raw call: images in the network's own scale (n, `in_channels`, h, w), one timestep an image, class labels where
    /// the network takes them; answers (n, `out_channels`, h, w).
    ///
    /// # Errors
    /// [`Error::Usage`] where they do not fit the network or each other; [`Error::Device`].
    pub fn call(&self, z: &Tensor, timesteps: &[f64], labels: Option<ClassLabels>) -> Result<Tensor> {
        let images = z.shape[0];
        let mut data = Vec::with_capacity(images * self.out_channels * self.image[1] * self.image[2]);
        for first in (0..images).step_by(self.batch) {
            let range = first..(first + self.batch).min(images);
            let feeds = self.feeds(z, timesteps, labels, range.clone())?;
            let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let output = self.program.run(&inputs)?.remove(0);
            data.extend_from_slice(&output.data[..range.len() * output.stride()]);
        }
        Ok(Tensor::new([images, self.out_channels, self.image[1], self.image[2]], data))
    }

    /// The inputs of a call for images `range`; a batch that is not full repeats its last image.
    fn feeds(
        &self,
        z: &Tensor,
        timesteps: &[f64],
        labels: Option<ClassLabels>,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<(String, Tensor)>> {
        if z.shape.len() != 4 || z.shape[1..] != self.image {
            let what = format!("images of shape {:?} for a network made ready for {:?}", z.shape, self.image);
            return Err(Error::usage(what, "images are (n, channels, height, width)"));
        }
        if timesteps.len() != z.shape[0] {
            let what = format!("{} timesteps for {} images", timesteps.len(), z.shape[0]);
            return Err(Error::usage(what, "give one timestep an image"));
        }
        let picks: Vec<usize> = (0..self.batch).map(|at| (range.start + at).min(range.end - 1)).collect();
        let rows = |tensor: &Tensor| {
            let mut shape = tensor.shape.clone();
            shape[0] = self.batch;
            Tensor::new(shape, picks.iter().flat_map(|&at| tensor.item(at).iter().copied()).collect::<Vec<_>>())
        };
        let pick = |numbers: &[f64]| picks.iter().map(|&at| numbers[at]).collect::<Vec<_>>();
        let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
        match labels {
            Some(ClassLabels::Numbers(numbers)) if numbers.len() == z.shape[0] => {
                let numbers = pick(numbers);
                self.net.feeds(&rows(z), &pick(timesteps), Some(ClassLabels::Numbers(&numbers)), &fetch)
            }
            Some(ClassLabels::Rows(vectors)) if vectors.shape[0] == z.shape[0] => {
                let vectors = rows(vectors);
                self.net.feeds(&rows(z), &pick(timesteps), Some(ClassLabels::Rows(&vectors)), &fetch)
            }
            Some(_) => Err(Error::usage("as many class labels as images are needed", "give one class label an image")),
            None => self.net.feeds(&rows(z), &pick(timesteps), None, &fetch),
        }
    }

    /// Names the first operation that makes a non-finite value of `z` at these timesteps.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(&self, z: &Tensor, timesteps: &[f64], labels: Option<ClassLabels>) -> Result<()> {
        (0..z.shape[0]).step_by(self.batch).try_for_each(|first| {
            let feeds = self.feeds(z, timesteps, labels, first..(first + self.batch).min(z.shape[0]))?;
            let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            self.program.trace_nonfinite(&inputs)
        })
    }

    /// As [`Network::trace_nonfinite`], for what [`Denoiser::eps_at`] is called with.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the operation; [`Error::Device`].
    pub fn trace_nonfinite_eps(&self, x: &Tensor, sigma: f64, timestep: Option<f64>) -> Result<()> {
        let timestep = timestep.unwrap_or_else(|| self.table.timestep(sigma));
        let z = network_scale(x, &vec![sigma; x.shape[0]]);
        self.trace_nonfinite(&z, &vec![timestep; x.shape[0]], None)
    }

    /// What each step of one call takes, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        let [c, h, w] = self.image;
        let z = Tensor::zeros([self.batch, c, h, w]);
        let feeds = self.feeds(&z, &vec![0.0; self.batch], None, 0..self.batch)?;
        let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.program.profile(&inputs)
    }

    /// eps in `x` of these sigmas, from a call at these timesteps.
    fn eps_from(&self, x: &Tensor, sigma: &[f64], timesteps: &[f64]) -> Result<Tensor> {
        if self.out_channels != self.image[0] {
            let what = format!("a network of {} channels in and {} out", self.image[0], self.out_channels);
            return Err(Error::usage(what, "only networks that answer as many channels as they read can be sampled"));
        }
        let z = network_scale(x, sigma);
        let mut answer = self.call(&z, timesteps, None)?;
        let stride = z.stride();
        for (at, sigma) in sigma.iter().enumerate() {
            let alpha_bar = alpha_bar_of(*sigma);
            let images = answer.data[at * stride..][..stride].iter_mut().zip(z.item(at));
            images.for_each(|(out, z)| *out = self.prediction.eps(f64::from(*out), f64::from(*z), alpha_bar) as f32);
        }
        Ok(answer)
    }
}

/// x at each sigma in the scale of the networks, z = sqrt(alpha bar) x.
fn network_scale(x: &Tensor, sigma: &[f64]) -> Tensor {
    let mut z = x.clone();
    let stride = z.stride();
    for (values, sigma) in z.data.chunks_mut(stride).zip(sigma) {
        let scale = alpha_bar_of(*sigma).sqrt();
        for value in values {
            *value = (f64::from(*value) * scale) as f32;
        }
    }
    z
}

impl Denoiser for Network<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
        let timesteps: Vec<f64> = sigma.iter().map(|sigma| self.table.timestep(*sigma)).collect();
        self.eps_from(x, sigma, &timesteps)
    }

    fn eps_at(&mut self, x: &Tensor, sigma: f64, timestep: Option<f64>) -> Result<Tensor> {
        let timestep = timestep.unwrap_or_else(|| self.table.timestep(sigma));
        self.eps_from(x, &vec![sigma; x.shape[0]], &vec![timestep; x.shape[0]])
    }
}
