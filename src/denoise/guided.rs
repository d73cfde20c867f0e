//! A network that looks at a context, as a denoiser: one context for all images, with classifier-free guidance (Ho and Salimans,
//! 2022) where a second one is given to lead away from.

use crate::checkpoint::Component;
use crate::denoise::calls::{Feeds, network_input, numbers, rows};
use crate::denoise::conditioned::{Conditioned, open_net, plan as plan_call};
use crate::denoise::diffusion::{NoiseTable, PredictionType};
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::graph::{CompileOptions, Compiler, Plan, Program, Target};
use crate::nets::unet2d_condition::UNet2dCondition;
use crate::tensor::Tensor;

/// What leads the images.
#[derive(Clone, Debug, PartialEq)]
pub struct Guidance {
    /// The context to go to, (1, tokens, dim).
    pub conditional: Tensor,
    /// The context to go away from, of the same shape; without it, `scale` has no meaning.
    pub unconditional: Option<Tensor>,
    /// s in `eps_u + s (eps_c - eps_u)`: 1 is the conditional answer alone.
    pub scale: f64,
}

impl Guidance {
    /// Contexts of a call: the conditional one, and the other where there is one.
    #[must_use]
    pub fn halves(&self) -> usize {
        1 + usize::from(self.unconditional.is_some())
    }

    fn tokens(&self) -> usize {
        self.conditional.shape.get(1).copied().unwrap_or(0)
    }

    /// The contexts one after the other, (halves, tokens, dim).
    fn contexts(&self, dim: usize, component: &Component) -> Result<Tensor> {
        let shape = &self.conditional.shape;
        let [1, tokens, found] = shape[..] else {
            return Err(Error::argument(format!("a context of shape {shape:?}"), "give shape [1, tokens, channels]"));
        };
        if found != dim {
            return Err(Error::bad_file_hint(
                &component.config.path,
                format!("`cross_attention_dim` is {dim}, but the context has {found} channels"),
                "the text encoder and the network must be of one model",
            ));
        }
        let mut data = self.conditional.data.clone();
        if let Some(unconditional) = &self.unconditional {
            if unconditional.shape != *shape {
                return Err(Error::argument(
                    format!("contexts of shapes {shape:?} and {:?}", unconditional.shape),
                    "both contexts of a guided network must have one shape",
                ));
            }
            data.extend_from_slice(&unconditional.data);
        }
        Ok(Tensor::new([self.halves(), tokens, dim], data))
    }
}

/// The plan of a call for `images` images of `size` (height, width) and `guidance`, before a device is touched.
///
/// # Errors
/// Those of [`UNet2dCondition::graph`].
pub fn plan(
    net: &UNet2dCondition,
    images: usize,
    size: (usize, usize),
    guidance: &Guidance,
    target: &Target,
    options: &CompileOptions,
) -> Result<Plan> {
    plan_call(net, images * guidance.halves(), size, guidance.tokens(), target, options)
}

/// A guided network on a device, ready for calls of up to `images` images of one size.
pub struct Guided<'e> {
    network: Conditioned<'e>,
    table: NoiseTable,
    prediction: PredictionType,
    images: usize,
    /// (halves, tokens, dim), the conditional one first.
    contexts: Tensor,
    scale: f64,
}

impl<'e> Guided<'e> {
    /// Makes the network in `component` ready for `images` images of `size` (height, width) at a call. Both contexts of all these
    /// images are one batch on the device. `table` and `prediction` say what the network was trained to answer; they come from
    /// the model's scheduler.
    ///
    /// # Errors
    /// As [`open_net`]; [`Error::BadFile`] for a network that needs more than a context, or contexts of other channels;
    /// [`Error::Argument`] for a size that it cannot take and contexts of different shapes; what the device reports.
    pub fn new(
        compiler: impl Into<Compiler<'e>>,
        component: Component,
        table: NoiseTable,
        prediction: PredictionType,
        images: usize,
        size: (usize, usize),
        guidance: &Guidance,
    ) -> Result<Self> {
        let net = open_net(&component.config, &component.weights)?;
        if net.config().class_embedding.is_some() {
            return Err(Error::bad_file_hint(
                &component.config.path,
                "the network needs a class label for each image, which cannot be given here",
                "`downhill denoise --timesteps T --context FILE.npy --class-labels FILE.npy` calls such a network",
            ));
        }
        let contexts = guidance.contexts(net.config().cross_attention_dim, &component)?;
        let batch = images.max(1) * guidance.halves();
        let network = Conditioned::new(compiler, net, component.weights, batch, size, guidance.tokens())?;
        Ok(Self { network, table, prediction, images: images.max(1), contexts, scale: guidance.scale })
    }

    /// The program that runs it.
    #[must_use]
    pub fn program(&self) -> &Program<'e> {
        self.network.program()
    }

    /// What each step of one call takes, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        self.network.profile()
    }

    /// (image, context) of everything that is computed for so many images, batch after batch: within each, all images with one
    /// context and then all with the other. A batch that is not full repeats its last image.
    fn items(&self, images: usize) -> Vec<(usize, usize)> {
        let chunks = (0..images).step_by(self.images);
        let image = |first: usize, slot: usize| (first + slot).min(images - 1);
        let halves = |first: usize| (0..self.contexts.shape[0]).map(move |half| (first, half));
        let slots = |(first, half)| (0..self.images).map(move |slot| (image(first, slot), half));
        chunks.flat_map(halves).flat_map(slots).collect()
    }

    fn feeds(&self, z: &Tensor, timesteps: &[f64], items: &[(usize, usize)], picks: &[usize]) -> Result<Feeds> {
        let (images, halves): (Vec<_>, Vec<_>) = picks.iter().map(|at| items[*at]).unzip();
        self.network.picked(&rows(z, &images), &numbers(timesteps, &images), &rows(&self.contexts, &halves), None)
    }

    /// The guided answer of the network itself; what it predicts is eps in another form, affine in the answer, and the weights of
    /// the two answers sum to 1, so that guidance of either is guidance of eps.
    fn answer(&self, z: &Tensor, timesteps: &[f64]) -> Result<Tensor> {
        self.network.calls.check(z, timesteps)?;
        let items = self.items(z.shape[0]);
        let all = self.network.calls.call(items.len(), |picks| self.feeds(z, timesteps, &items, picks))?;
        let halves = self.contexts.shape[0];
        let mut guided = Vec::with_capacity(z.shape[0] * all.stride());
        for image in 0..z.shape[0] {
            let at = image / self.images * self.images * halves + image % self.images;
            let conditional = all.item(at);
            if halves == 1 {
                guided.extend_from_slice(conditional);
                continue;
            }
            let unconditional = all.item(at + self.images).iter();
            guided.extend(unconditional.zip(conditional).map(|(u, c)| {
                let (u, c) = (f64::from(*u), f64::from(*c));
                (u + self.scale * (c - u)) as f32
            }));
        }
        let mut shape = all.shape;
        shape[0] = z.shape[0];
        Ok(Tensor::new(shape, guided))
    }
}

impl Denoiser for Guided<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.network.calls.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let (z, timesteps) = network_input(x, levels, &self.table);
        let mut answer = self.answer(&z, &timesteps)?;
        self.network.calls.to_eps(&mut answer, &z, levels, self.prediction)?;
        Ok(answer)
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        let (z, timesteps) = network_input(x, levels, &self.table);
        let items = self.items(x.shape[0]);
        self.network.calls.check(&z, &timesteps)?;
        self.network.calls.trace_nonfinite(items.len(), |picks| self.feeds(&z, &timesteps, &items, picks))
    }
}
