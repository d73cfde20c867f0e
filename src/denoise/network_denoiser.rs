//! A pretrained network as a denoiser: the scale and the timesteps that it was trained with, its condition, and
//! guidance.

use super::classified::ClassifierGradient;
use super::diffusion::{NoiseTable, PredictionType};
use super::guidance::{Condition, Guidance};
use super::network::{Network, added_for, labels_for, numbers, rows, rows_for};
use super::{Denoiser, Level, scaling};
use crate::error::{Error, Result};
use crate::graph::run::StepTime;
use crate::nets::architecture::Inputs;
use crate::nets::feeds::{Added, ClassLabels};
use crate::tensor::Tensor;

/// A network on a device as a denoiser, with or without guidance.
pub struct NetworkDenoiser<'e> {
    network: Network<'e>,
    table: NoiseTable,
    prediction: PredictionType,
    guidance: Guidance,
    /// Images per call.
    images: usize,
    /// Further channels of every input, (1, channels, h, w), for networks that take more than they denoise.
    appended: Option<Tensor>,
    /// The learned variance of the last call.
    variance: Option<Tensor>,
    /// A classifier that guides the walk.
    classifier: Option<ClassifierGradient<'e>>,
}

impl<'e> NetworkDenoiser<'e> {
    /// Makes a denoiser of a network that is ready for calls of [`Guidance::call_size`]. `table` and `prediction` are
    /// those of the network's training; they come from the model's scheduler.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network whose output and input have different numbers of channels, for conditions that
    /// it does not take, and for calls of another size.
    pub fn new(
        network: Network<'e>,
        table: NoiseTable,
        prediction: PredictionType,
        guidance: Guidance,
    ) -> Result<Self> {
        Self::of(network, table, prediction, guidance, None)
    }

    /// As [`NetworkDenoiser::new`], of a network that takes further channels after those that it denoises: `appended`,
    /// (1, channels, h, w), the same for all images. Those of inpainting take the mask and the latents of the image
    /// under it.
    ///
    /// # Errors
    /// As [`NetworkDenoiser::new`]; [`Error::Argument`] for channels that do not fit the network.
    pub fn with_appended(
        network: Network<'e>,
        table: NoiseTable,
        prediction: PredictionType,
        guidance: Guidance,
        appended: Tensor,
    ) -> Result<Self> {
        Self::of(network, table, prediction, guidance, Some(appended))
    }

    fn of(
        network: Network<'e>,
        table: NoiseTable,
        prediction: PredictionType,
        guidance: Guidance,
        appended: Option<Tensor>,
    ) -> Result<Self> {
        let (net, size) = (network.net(), network.size());
        let further = match appended.as_ref().map(|appended| &appended.shape[..]) {
            None => 0,
            Some(&[1, channels, height, width]) if (height, width) == size.sides() => channels,
            Some(shape) => {
                let what = format!("further channels of shape {shape:?} for a network of {:?}", network.image_shape());
                return Err(Error::argument(what, "they are (1, channels, height, width)"));
            }
        };
        if net.predicted_channels() + further != net.in_channels() {
            let what = format!(
                "a network with {} input and {} output channels, and {further} channels that are given",
                net.in_channels(),
                net.out_channels()
            );
            return Err(Error::argument(what, "a denoiser has as many channels in its output as in its input"));
        }
        guidance.check(net)?;
        let images = size.batch / guidance.conditions();
        if guidance.call_size(images, size.sides()) != size {
            return Err(Error::argument(
                format!("a network for {} images and {} tokens per call", size.batch, size.tokens),
                "make it ready for the call size of its guidance",
            ));
        }
        Ok(Self { network, table, prediction, guidance, images, appended, variance: None, classifier: None })
    }

    /// The network, for raw calls.
    #[must_use]
    pub fn network(&self) -> &Network<'e> {
        &self.network
    }

    /// Images per call.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// Replaces the conditional condition, for other images than before.
    ///
    /// # Errors
    /// [`Error::Argument`] for a condition that the network does not take.
    pub fn set_condition(&mut self, conditional: Condition) -> Result<()> {
        let guidance = Guidance { conditional, ..self.guidance.clone() };
        guidance.check(self.network.net())?;
        self.guidance = guidance;
        Ok(())
    }

    /// Guides walks by a classifier of the network's images, in place of one before, or by none.
    pub fn set_classifier(&mut self, classifier: Option<ClassifierGradient<'e>>) {
        self.classifier = classifier;
    }

    /// The classifier that guides walks.
    pub fn classifier_mut(&mut self) -> Option<&mut ClassifierGradient<'e>> {
        self.classifier.as_mut()
    }

    /// Replaces all conditions, for calls of the same size as before.
    ///
    /// # Errors
    /// [`Error::Argument`] for conditions that the network does not take, and for calls of another size.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<()> {
        guidance.check(self.network.net())?;
        let size = self.network.size();
        if guidance.call_size(size.batch / guidance.conditions(), size.sides()) != size {
            let what = format!("a network for {} images and {} tokens per call", size.batch, size.tokens);
            return Err(Error::argument(what, "make it ready for the call size of its guidance"));
        }
        self.images = size.batch / guidance.conditions();
        self.guidance = guidance;
        Ok(())
    }

    /// The duration of each step of one call, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        let [channels, height, width] = self.image_shape();
        let z = Tensor::zeros([self.images, channels, height, width]);
        self.network.profile(&self.call(&z, &vec![0.0; self.images])?.inputs())
    }

    /// The guided output of the network in its own scale, (n, channels, h, w) as `z`, without a learned variance. The
    /// network predicts eps in some form that is affine in its output, and the weights of the two conditions sum to 1,
    /// so guidance of that form is guidance of eps.
    ///
    /// # Errors
    /// As [`Network::call`].
    pub fn predict(&self, z: &Tensor, timesteps: &[f64]) -> Result<Tensor> {
        Ok(self.outputs(z, timesteps)?.0)
    }

    /// The output of [`NetworkDenoiser::predict`], and the channels of a learned variance beside it where the network
    /// has them: those of the condition to follow, which guidance leaves as they are.
    ///
    /// # Errors
    /// As [`Network::call`].
    pub fn outputs(&self, z: &Tensor, timesteps: &[f64]) -> Result<(Tensor, Option<Tensor>)> {
        let all = self.network.call(&self.call(z, timesteps)?.inputs())?;
        let mut shape = all.shape.clone();
        (shape[0], shape[1]) = (z.shape[0], self.image_shape()[0]);
        let predicted: usize = shape[1..].iter().product();
        let mut guided = Vec::with_capacity(shape.iter().product());
        let mut variance = self.network.net().learns_variance().then(|| Vec::with_capacity(guided.capacity()));
        let conditions = self.guidance.conditions();
        for image in 0..z.shape[0] {
            let at = image / self.images * self.images * conditions + image % self.images;
            let conditional = &all.item(at)[..predicted];
            if let Some(variance) = &mut variance {
                variance.extend_from_slice(&all.item(at)[predicted..2 * predicted]);
            }
            if conditions == 1 {
                guided.extend_from_slice(conditional);
                continue;
            }
            let unconditional = &all.item(at + self.images)[..predicted];
            guided.extend(unconditional.iter().zip(conditional).map(|(u, c)| {
                let (u, c) = (f64::from(*u), f64::from(*c));
                (u + self.guidance.scale * (c - u)) as f32
            }));
        }
        Ok((Tensor::new(shape.clone(), guided), variance.map(|variance| Tensor::new(shape, variance))))
    }

    /// Images with the further channels after their own.
    fn with_channels(&self, z: Tensor) -> Tensor {
        let Some(appended) = &self.appended else { return z };
        let mut shape = z.shape.clone();
        shape[1] += appended.shape[1];
        let images = z.data.chunks_exact(z.stride().max(1));
        Tensor::new(shape, images.flat_map(|image| [image, &appended.data[..]].concat()).collect::<Vec<_>>())
    }

    /// The images with each of their conditions, batch after batch: within a batch all images with one condition, and
    /// then all with the other. The last batch repeats its last image.
    fn call(&self, z: &Tensor, timesteps: &[f64]) -> Result<Call> {
        let count = z.shape.first().copied().unwrap_or(0);
        if timesteps.len() != count {
            let what = format!("{} timesteps for {count} images", timesteps.len());
            return Err(Error::argument(what, "give one timestep per image"));
        }
        self.guidance.each().try_for_each(|condition| check_count(condition, count))?;
        let mut order = Vec::new();
        let (mut contexts, mut labels, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..count).step_by(self.images) {
            let batch: Vec<usize> = (first..first + self.images).map(|image| image.min(count - 1)).collect();
            for condition in self.guidance.each() {
                order.extend_from_slice(&batch);
                contexts.extend(condition.context.as_ref().map(|context| rows_for(context, &batch)));
                labels.extend(condition.labels.as_ref().map(|labels| labels_for(labels, &batch)));
                added.extend(condition.added.as_ref().map(|added| added_for(added, &batch)));
            }
        }
        Ok(Call {
            z: self.with_channels(rows(z, &order)),
            timesteps: numbers(timesteps, &order),
            context: joined(contexts),
            labels: joined_labels(labels),
            added: joined_added(added),
            // Both conditions of a guided denoiser have the same.
            guidance: self.guidance.conditional.guidance,
        })
    }
}

impl Denoiser for NetworkDenoiser<'_> {
    fn image_shape(&self) -> [usize; 3] {
        let [channels, height, width] = self.network.image_shape();
        [channels - self.appended.as_ref().map_or(0, |appended| appended.shape[1]), height, width]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let (mut output, variance) = self.outputs(&z, &timesteps)?;
        self.variance = variance;
        scaling::eps(&self.table, self.prediction, &mut output, &z, levels);
        Ok(output)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let (output, variance) = self.outputs(&z, &timesteps)?;
        self.variance = variance;
        Ok(scaling::parts(&self.table, self.prediction, output, (x, &z), levels))
    }

    fn variance(&self) -> Option<&Tensor> {
        self.variance.as_ref()
    }

    /// The classifier sees what the network sees: z, with the gradient in x by the chain rule.
    fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        let Some(classifier) = &self.classifier else { return Ok(None) };
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let mut gradient = classifier.gradient(&z, &timesteps)?;
        let stride = gradient.stride().max(1);
        for (values, level) in gradient.data.chunks_mut(stride).zip(levels) {
            let scale = self.table.process().input_scale(level.sigma);
            for value in values {
                *value = (f64::from(*value) * scale) as f32;
            }
        }
        Ok(Some(gradient))
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        self.network.trace_nonfinite(&self.call(&z, &timesteps)?.inputs())
    }
}

/// The inputs of a call of the network, one row per image and condition.
struct Call {
    z: Tensor,
    timesteps: Vec<f64>,
    context: Option<Tensor>,
    labels: Option<ClassLabels>,
    added: Option<Added>,
    guidance: Option<f64>,
}

impl Call {
    fn inputs(&self) -> Inputs<'_> {
        let inputs = Inputs::new(&self.z, &self.timesteps).with_context(self.context.as_ref());
        let inputs = inputs.with_labels(self.labels.as_ref()).with_added(self.added.as_ref());
        inputs.with_guidance(self.guidance)
    }
}

/// Refuses a condition for another number of images.
fn check_count(condition: &Condition, images: usize) -> Result<()> {
    let contexts = condition.context.as_ref().map(|context| context.shape[0]);
    let labels = condition.labels.as_ref().map(ClassLabels::len);
    let added = condition.added.as_ref().map(Added::len);
    match contexts.into_iter().chain(labels).chain(added).find(|count| ![1, images].contains(count)) {
        Some(count) => Err(Error::argument(
            format!("conditions for {count} images in a call of {images}"),
            "give one condition per image, or one for all images",
        )),
        None => Ok(()),
    }
}

/// Tensors one after the other.
fn joined(parts: Vec<Tensor>) -> Option<Tensor> {
    let mut shape = parts.first()?.shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    Some(Tensor::new(shape, parts.into_iter().flat_map(|part| part.data).collect::<Vec<_>>()))
}

/// Vectors that are added, one after the other.
fn joined_added(parts: Vec<Added>) -> Option<Added> {
    let (pooled, numbers) = parts.into_iter().map(|part| (part.pooled, part.numbers)).unzip();
    Some(Added { pooled: joined(pooled)?, numbers: joined(numbers)? })
}

/// Labels one after the other; all are of one kind, which [`Guidance::check`] ensures.
fn joined_labels(parts: Vec<ClassLabels>) -> Option<ClassLabels> {
    let (mut numbers, mut rows) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            ClassLabels::Numbers(some) => numbers.extend(some),
            ClassLabels::Rows(some) => rows.push(some),
        }
    }
    joined(rows).map(ClassLabels::Rows).or_else(|| (!numbers.is_empty()).then_some(ClassLabels::Numbers(numbers)))
}
