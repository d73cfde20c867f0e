//! Latents to images and back: an autoencoder on a device.

use std::sync::Arc;

use crate::checkpoint::{Component, Weights};
use crate::error::{Error, Result};
use crate::graph::op::Graph;
use crate::graph::{Compiler, Plan, Program};
use crate::kernels::Engine;
use crate::latent::tiles::{Room, Strips, Tiling};
use crate::nets::autoencoder::{self, Autoencoder, names};
use crate::tensor::{Precision, Tensor};

/// The compiler for an autoencoder. Maps stay in float32 where the configuration asks for it (`force_upcast`).
#[must_use]
pub fn compiler_for<'e>(net: &dyn Autoencoder, compiler: Compiler<'e>) -> Compiler<'e> {
    let mut options = compiler.options;
    if net.keeps_float32() {
        options.maps = Precision::Float32;
    }
    Compiler::new(compiler.engine, options)
}

/// The plan of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    /// One batch at a time.
    Whole {
        /// The number of latents per call.
        batch: usize,
        /// The plan of a call.
        plan: Box<Plan>,
    },
    /// One image at a time, in strips.
    Strips {
        /// The decoder for one image.
        graph: Graph,
        /// The cut of the graph, and the plans of its parts.
        strips: Strips,
    },
}

impl Planned {
    /// Plans a decoder for `batch` latents of `size` (height, width), without using a device: in strips if `tiling`
    /// requests them, or if a map does not fit `room`.
    ///
    /// # Errors
    /// Those of [`Autoencoder::decoder`]; [`Error::Argument`] if strips are requested and the decoder cannot be cut.
    pub fn new(net: &dyn Autoencoder, batch: usize, size: (usize, usize), tiling: Tiling, room: &Room) -> Result<Self> {
        net.check_latents(batch, size)?;
        Self::of_graph(&net.decoder(1, size)?, batch, tiling, room)
    }

    /// As [`Planned::new`], by the graph of the decoder for one latent.
    ///
    /// # Errors
    /// [`Error::Argument`] if strips are requested and the decoder cannot be cut.
    pub fn of_graph(graph: &Graph, batch: usize, tiling: Tiling, room: &Room) -> Result<Self> {
        let plan = || Box::new(room.plan(&graph.for_images(1, batch)));
        let strips =
            |asked| Strips::new(graph, asked, room).map(|strips| Self::Strips { graph: graph.clone(), strips });
        match tiling {
            Tiling::Never => Ok(Self::Whole { batch, plan: plan() }),
            Tiling::Auto => {
                let plan = plan();
                let in_strips = if room.holds(&plan) { None } else { strips(None) };
                // If strips do not fit either, the device reports the map that is too large.
                Ok(in_strips.unwrap_or(Self::Whole { batch, plan }))
            }
            Tiling::Rows(rows) => strips(Some(rows)).ok_or_else(|| {
                Error::argument(
                    "this decoder cannot work in strips of that size",
                    "choose another number of rows for `tile`, or automatic tiling",
                )
            }),
        }
    }

    /// The plans, of which one is on the device at a time.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        match self {
            Self::Whole { plan, .. } => std::slice::from_ref(plan),
            Self::Strips { strips, .. } => &strips.plans,
        }
    }

    /// `true` if it works in strips.
    #[must_use]
    pub fn in_strips(&self) -> bool {
        matches!(self, Self::Strips { .. })
    }
}

/// A decoder on a device, for latents of one size.
pub struct Decoder<'e> {
    engine: &'e Engine,
    net: Arc<dyn Autoencoder>,
    weights: Weights,
    size: (usize, usize),
    way: Way<'e>,
}

enum Way<'e> {
    Whole { batch: usize, program: Box<Program<'e>> },
    Strips { graph: Graph, strips: Strips },
}

impl<'e> Decoder<'e> {
    /// Creates the decoder of a component for latents of `size` (height, width), from a plan for that size.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its kin of the configuration; what the device reports.
    pub fn new(engine: &'e Engine, component: Component, size: (usize, usize), planned: Planned) -> Result<Self> {
        let net = autoencoder::read(&component.config)?;
        let weights = component.weights;
        let way = match planned {
            Planned::Strips { graph, strips } => Way::Strips { graph, strips },
            Planned::Whole { batch, plan } => {
                let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
                Way::Whole { batch, program: Box::new(Program::new(engine, *plan, &fetch)?) }
            }
        };
        Ok(Self { engine, net, weights, size, way })
    }

    /// The architecture.
    #[must_use]
    pub fn net(&self) -> &dyn Autoencoder {
        self.net.as_ref()
    }

    /// The number of strips of the largest map, 1 if images are decoded whole.
    #[must_use]
    pub fn strips(&self) -> usize {
        match &self.way {
            Way::Whole { .. } => 1,
            Way::Strips { graph, strips } => strips.most_strips(graph),
        }
    }

    /// Decodes images, about -1 to 1, (n, `out_channels`, height, width), from raw, unscaled latents (n,
    /// `latent_channels`, h, w).
    ///
    /// # Errors
    /// [`Error::Argument`] for latents of another shape; [`Error::Device`].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        check(latents, self.net.latent_channels(), self.size, "latents")?;
        let latents = &each(latents, |value| self.net.of_latent(value));
        let images = match &self.way {
            Way::Whole { batch, program } => in_batches(program, *batch, names::LATENT, latents),
            Way::Strips { graph, strips } => {
                let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
                let images = (0..latents.shape[0])
                    .map(|at| strips.run(self.engine, graph, &fetch, (names::LATENT, &latents.slice(at..at + 1))));
                joined(images)
            }
        }?;
        Ok(each(&images, |value| self.net.to_image(value)))
    }

    /// Names the first operation that makes a non-finite value of these latents, if they are decoded whole.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(&self, latents: &Tensor) -> Result<()> {
        match &self.way {
            Way::Whole { batch, program } => {
                let picks = (0..*batch).map(|at| at.min(latents.shape[0] - 1));
                let latents = each(&rows(latents, picks), |value| self.net.of_latent(value));
                program.trace_nonfinite(&[(names::LATENT, &latents)])
            }
            Way::Strips { .. } => Ok(()),
        }
    }
}

/// The output of the encoder for a batch of images: one normal distribution per latent.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// The mean, (n, `latent_channels`, h, w), not scaled.
    pub mean: Tensor,
    /// The logarithm of the variance, from -30 to 20, of the same shape; negative infinity where nothing is random.
    pub logvar: Tensor,
}

impl Posterior {
    /// Returns a draw: the mean plus standard normal `noise` of the same shape times the standard deviation.
    #[must_use]
    pub fn draw(&self, noise: &Tensor) -> Tensor {
        let of = self.mean.data.iter().zip(&self.logvar.data).zip(&noise.data);
        let data = of.map(|((mean, logvar), noise)| {
            (f64::from(*mean) + (0.5 * f64::from(*logvar)).exp() * f64::from(*noise)) as f32
        });
        Tensor::new(self.mean.shape.clone(), data.collect())
    }
}

/// An encoder on a device, for images of one size.
pub struct Encoder<'e> {
    net: Arc<dyn Autoencoder>,
    size: (usize, usize),
    batch: usize,
    program: Program<'e>,
}

impl<'e> Encoder<'e> {
    /// Creates the encoder of a component for images of `size` (height, width), up to `batch` at a time.
    ///
    /// # Errors
    /// As [`autoencoder::open`] and [`Autoencoder::encoder`]; then those of the device.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        component: &Component,
        batch: usize,
        size: (usize, usize),
    ) -> Result<Self> {
        let net = autoencoder::open(&component.config, &component.weights)?;
        let compiler = compiler.into();
        let plan = compiler.plan(&net.encoder(batch, size)?);
        Self::with_net(compiler.engine, net, component, batch, size, plan)
    }

    /// As [`Encoder::new`], by a plan for `batch` images of `size`, for a component that was opened before.
    ///
    /// # Errors
    /// [`Error::BadFile`] and its kin of the configuration; what the device reports.
    pub fn planned(
        engine: &'e Engine,
        component: &Component,
        batch: usize,
        size: (usize, usize),
        plan: Plan,
    ) -> Result<Self> {
        Self::with_net(engine, autoencoder::read(&component.config)?, component, batch, size, plan)
    }

    fn with_net(
        engine: &'e Engine,
        net: Arc<dyn Autoencoder>,
        component: &Component,
        batch: usize,
        size: (usize, usize),
        plan: Plan,
    ) -> Result<Self> {
        let program = Program::new(engine, plan, &|key, shape| component.weights.fetch(key, shape))?;
        Ok(Self { net, size, batch, program })
    }

    /// The architecture.
    #[must_use]
    pub fn net(&self) -> &dyn Autoencoder {
        self.net.as_ref()
    }

    /// Encodes images (n, `in_channels`, height, width), about -1 to 1, to the distribution of their latents.
    ///
    /// # Errors
    /// [`Error::Argument`] for images of another shape; [`Error::Device`].
    pub fn encode(&self, images: &Tensor) -> Result<Posterior> {
        check(images, self.net.in_channels(), self.size, "images")?;
        let images = each(images, |value| self.net.of_image(value));
        let moments = in_batches(&self.program, self.batch, names::IMAGE, &images)?;
        if !self.net.is_random() {
            let logvar = Tensor::new(moments.shape.clone(), vec![f32::NEG_INFINITY; moments.data.len()]);
            return Ok(Posterior { mean: moments, logvar });
        }
        let [n, channels, h, w] = moments.shape[..] else { return Err(no_images(&moments.shape)) };
        let half = moments.stride() / 2;
        let part = |from: usize| (0..n).flat_map(|at| moments.item(at)[from..from + half].to_vec()).collect::<Vec<_>>();
        let shape = [n, channels / 2, h, w];
        let logvar = part(half).into_iter().map(|value| value.clamp(-30.0, 20.0)).collect();
        Ok(Posterior { mean: Tensor::new(shape, part(0)), logvar: Tensor::new(shape, logvar) })
    }

    /// Names the first operation that makes a non-finite value of these images.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming it; [`Error::Device`].
    pub fn trace_nonfinite(&self, images: &Tensor) -> Result<()> {
        let picks = (0..self.batch).map(|at| at.min(images.shape[0] - 1));
        let images = each(&rows(images, picks), |value| self.net.of_image(value));
        self.program.trace_nonfinite(&[(names::IMAGE, &images)])
    }
}

/// Converts the encoder's latents to those of the diffusion network.
#[must_use]
pub fn scaled(net: &dyn Autoencoder, raw: &Tensor) -> Tensor {
    of_channels(raw, |channel, value| {
        let (factor, offset) = net.raw_of_scaled(channel);
        (value - offset) / factor
    })
}

/// Converts the diffusion network's latents to those of the decoder.
#[must_use]
pub fn unscaled(net: &dyn Autoencoder, latents: &Tensor) -> Tensor {
    of_channels(latents, |channel, value| {
        let (factor, offset) = net.raw_of_scaled(channel);
        value * factor + offset
    })
}

/// Applies a function to every value.
fn each(tensor: &Tensor, change: impl Fn(f64) -> f64) -> Tensor {
    let data = tensor.data.iter().map(|value| change(f64::from(*value)) as f32).collect();
    Tensor::new(tensor.shape.clone(), data)
}

/// Applies a function of channel and value to (n, c, h, w).
fn of_channels(tensor: &Tensor, change: impl Fn(usize, f64) -> f64) -> Tensor {
    let (channels, pixels) = (tensor.shape[1], tensor.shape[2..].iter().product::<usize>().max(1));
    let values = tensor.data.iter().enumerate();
    let data = values.map(|(at, value)| change(at / pixels % channels, f64::from(*value)) as f32).collect();
    Tensor::new(tensor.shape.clone(), data)
}

/// Checks that a tensor is (n, `channels`, h, w) of the given size.
fn check(given: &Tensor, channels: usize, (height, width): (usize, usize), what: &str) -> Result<()> {
    if given.shape.len() == 4 && given.shape[0] > 0 && given.shape[1..] == [channels, height, width] {
        return Ok(());
    }
    Err(Error::argument(
        format!("{what} of shape {:?} do not fit this autoencoder", given.shape),
        format!("give shape [n, {channels}, {height}, {width}]"),
    ))
}

fn no_images(shape: &[usize]) -> Error {
    Error::argument(
        format!("a tensor of shape {shape:?} is not a batch of images"),
        "images are (n, channels, height, width)",
    )
}

/// Runs a program's only output for any number of items, one batch at a time. A partial batch repeats its last item.
fn in_batches(program: &Program, batch: usize, name: &str, items: &Tensor) -> Result<Tensor> {
    let count = items.shape[0];
    joined((0..count).step_by(batch).map(|first| {
        let picks = (first..first + batch).map(|at| at.min(count - 1));
        let output = program.run(&[(name, &rows(items, picks))])?.remove(0);
        Ok(output.slice(0..batch.min(count - first)))
    }))
}

/// Returns these items of a tensor.
fn rows(tensor: &Tensor, picks: impl Iterator<Item = usize>) -> Tensor {
    let mut shape = tensor.shape.clone();
    let data: Vec<f32> = picks.flat_map(|at| tensor.item(at).iter().copied()).collect();
    shape[0] = data.len() / tensor.stride().max(1);
    Tensor::new(shape, data)
}

/// Concatenates tensors.
fn joined(parts: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let (mut data, mut shape) = (Vec::new(), Vec::new());
    for part in parts {
        let part = part?;
        data.extend(part.data);
        let before = shape.first().copied().unwrap_or(0);
        shape.clone_from(&part.shape);
        shape[0] += before;
    }
    Ok(Tensor::new(shape, data))
}
