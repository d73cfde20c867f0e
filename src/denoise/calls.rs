//! Calls of a network on a device: any number of images, a batch at a time.

use crate::denoise::Level;
use crate::denoise::diffusion::{NoiseTable, PredictionType};
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::graph::{Plan, Program, WeightAccess};
use crate::kernels::Engine;
use crate::nets::unet2d::ClassLabels;
use crate::tensor::Tensor;

/// The inputs of a graph by name.
pub(super) type Feeds = Vec<(String, Tensor)>;

/// A network on a device, ready for `batch` images of one size at a time.
pub(super) struct Calls<'e> {
    pub program: Program<'e>,
    pub batch: usize,
    /// (channels, height, width) of an image that goes in.
    pub image: [usize; 3],
    pub out_channels: usize,
}

impl<'e> Calls<'e> {
    /// A plan for `batch` images, with the first output (batch, `out_channels`, height, width).
    pub fn new(
        engine: &'e Engine,
        plan: Plan,
        weights: &WeightAccess,
        batch: usize,
        image: [usize; 3],
        out_channels: usize,
    ) -> Result<Self> {
        let program = Program::new(engine, plan, weights)?;
        Ok(Self { program, batch, image, out_channels })
    }

    /// Refuses images of another shape, and any number of timesteps but one an image.
    pub fn check(&self, z: &Tensor, timesteps: &[f64]) -> Result<()> {
        if z.shape.len() != 4 || z.shape[1..] != self.image {
            let what = format!("images of shape {:?} for a network made ready for {:?}", z.shape, self.image);
            return Err(Error::argument(what, "images are (n, channels, height, width)"));
        }
        if timesteps.len() != z.shape[0] {
            let what = format!("{} timesteps for {} images", timesteps.len(), z.shape[0]);
            return Err(Error::argument(what, "give one timestep an image"));
        }
        Ok(())
    }

    /// The answers for items 0 to `items`, (items, `out_channels`, height, width); `feeds` makes the inputs for a batch of them.
    pub fn call(&self, items: usize, feeds: impl Fn(&[usize]) -> Result<Feeds>) -> Result<Tensor> {
        let mut data = Vec::with_capacity(items * self.out_channels * self.image[1] * self.image[2]);
        for first in (0..items).step_by(self.batch) {
            let output = self.program.run(&by_name(&feeds(&self.picks(first, items))?))?.remove(0);
            data.extend_from_slice(&output.data[..self.batch.min(items - first) * output.stride()]);
        }
        Ok(Tensor::new([items, self.out_channels, self.image[1], self.image[2]], data))
    }

    /// Names the first operation that makes a non-finite value, as [`Error::NonFinite`].
    pub fn trace_nonfinite(&self, items: usize, feeds: impl Fn(&[usize]) -> Result<Feeds>) -> Result<()> {
        (0..items).step_by(self.batch).try_for_each(|first| {
            let feeds = feeds(&self.picks(first, items))?;
            self.program.trace_nonfinite(&by_name(&feeds))
        })
    }

    /// What each step of one call takes.
    pub fn profile(&self, feeds: &Feeds) -> Result<Vec<StepTime>> {
        self.program.profile(&by_name(feeds))
    }

    /// Images of zeros, a batch of them.
    pub fn zeros(&self) -> Tensor {
        let [c, h, w] = self.image;
        Tensor::zeros([self.batch, c, h, w])
    }

    /// The items of a batch; one that is not full repeats its last.
    fn picks(&self, first: usize, items: usize) -> Vec<usize> {
        (first..first + self.batch).map(|item| item.min(items - 1)).collect()
    }

    /// eps from what the network answered for `z` at each of these sigmas.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network that answers other channels than it reads.
    pub fn to_eps(&self, answer: &mut Tensor, z: &Tensor, levels: &[Level], prediction: PredictionType) -> Result<()> {
        if self.out_channels != self.image[0] {
            let what = format!("a network of {} channels in and {} out", self.image[0], self.out_channels);
            return Err(Error::argument(
                what,
                "only networks that answer as many channels as they read can be sampled",
            ));
        }
        let stride = z.stride();
        for (at, level) in levels.iter().enumerate() {
            let alpha_bar = level.alpha_bar();
            let values = answer.data[at * stride..][..stride].iter_mut().zip(z.item(at));
            values.for_each(|(out, z)| *out = prediction.eps(f64::from(*out), f64::from(*z), alpha_bar) as f32);
        }
        Ok(())
    }
}

fn by_name(feeds: &Feeds) -> Vec<(&str, &Tensor)> {
    feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// These rows of a tensor.
pub(super) fn rows(tensor: &Tensor, picks: &[usize]) -> Tensor {
    let mut shape = tensor.shape.clone();
    shape[0] = picks.len();
    Tensor::new(shape, picks.iter().flat_map(|&at| tensor.item(at).iter().copied()).collect::<Vec<_>>())
}

/// These of some numbers.
pub(super) fn numbers(all: &[f64], picks: &[usize]) -> Vec<f64> {
    picks.iter().map(|&at| all[at]).collect()
}

/// Does something with the labels of these of `images` images.
pub(super) fn with_labels<T>(
    labels: Option<ClassLabels>,
    images: usize,
    picks: &[usize],
    then: impl FnOnce(Option<ClassLabels>) -> Result<T>,
) -> Result<T> {
    match labels {
        Some(ClassLabels::Numbers(all)) if all.len() == images => {
            then(Some(ClassLabels::Numbers(&numbers(all, picks))))
        }
        Some(ClassLabels::Rows(all)) if all.shape[0] == images => then(Some(ClassLabels::Rows(&rows(all, picks)))),
        Some(_) => Err(Error::argument("as many class labels as images are needed", "give one class label an image")),
        None => then(None),
    }
}

/// `x` at each level in the scale of the networks, z = sqrt(alpha bar) x, and the timesteps to call them at.
pub(super) fn network_input(x: &Tensor, levels: &[Level], table: &NoiseTable) -> (Tensor, Vec<f64>) {
    let mut z = x.clone();
    let stride = z.stride();
    for (values, level) in z.data.chunks_mut(stride).zip(levels) {
        let scale = level.alpha_bar().sqrt();
        for value in values {
            *value = (f64::from(*value) * scale) as f32;
        }
    }
    (z, levels.iter().map(|level| level.called_at(table)).collect())
}
