//! A pretrained network as a denoiser: the scale and the timesteps that it was trained with, its condition, and
//! guidance.

use super::classified::ClassifierGradient;
use super::diffusion::{NoiseTable, PredictionType};
use super::guidance::{Condition, Guidance};
use super::guidance_rule::{Evaluations, GuidanceMode};
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
    /// The part of the clean image that guidance added in the last call, with CFG++.
    shift: Option<Tensor>,
    evaluations: Evaluations,
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
        let images = size.batch / guidance.conditions_per_call();
        if guidance.call_size(images, size.sides()) != size {
            return Err(Error::argument(
                format!("a network for {} images and {} tokens per call", size.batch, size.tokens),
                "make it ready for the call size of its guidance",
            ));
        }
        Ok(Self {
            network,
            table,
            prediction,
            guidance,
            images,
            appended,
            variance: None,
            classifier: None,
            shift: None,
            evaluations: Evaluations::default(),
        })
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
        if guidance.call_size(size.batch / guidance.conditions_per_call(), size.sides()) != size {
            let what = format!("a network for {} images and {} tokens per call", size.batch, size.tokens);
            return Err(Error::argument(what, "make it ready for the call size of its guidance"));
        }
        self.images = size.batch / guidance.conditions_per_call();
        self.guidance = guidance;
        self.evaluations = Evaluations::default();
        Ok(())
    }

    /// The duration of each step of one call, on zeros at timestep 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn profile(&self) -> Result<Vec<StepTime>> {
        let [channels, height, width] = self.image_shape();
        let z = Tensor::zeros([self.images, channels, height, width]);
        let together = self.together();
        self.network.profile(&self.call(&z, &vec![0.0; self.images], &every(self.images), &together)?.inputs())
    }

    /// The images that the network and the classifier were called on since the guidance was set.
    #[must_use]
    pub fn evaluations(&self) -> Evaluations {
        self.evaluations
    }

    /// The guided output of the network in its own scale, (n, channels, h, w) as `z`, without a learned variance. The
    /// network predicts eps in some form that is affine in its output, and the weights of the two conditions sum to 1,
    /// so guidance of that form is guidance of eps. Guidance acts whatever its interval is, which is one of sigmas.
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
        let acts = vec![true; z.shape.first().copied().unwrap_or(0)];
        let Outputs { conditional, unconditional, variance } = self.of_conditions(z, timesteps, &acts)?;
        let guided = self.guided(&conditional, unconditional.as_ref(), &acts);
        Ok((guided.unwrap_or(conditional), variance))
    }

    /// The outputs with each condition: without the condition to follow only for the images that guidance `acts` on,
    /// one after the other.
    fn of_conditions(&self, z: &Tensor, timesteps: &[f64], acts: &[bool]) -> Result<Outputs> {
        let all = every(acts.len());
        let acting: Vec<usize> = all.iter().copied().filter(|image| acts[*image]).collect();
        let mut outputs = self.evaluate(z, timesteps, &all, &self.together())?.into_iter();
        let conditional = outputs.next().unwrap_or_else(|| Tensor::zeros([0]));
        let unconditional = match (&self.guidance.unconditional, outputs.next()) {
            (Some(_), Some(output)) => Some(output),
            (Some(condition), None) if !acting.is_empty() => {
                self.evaluate(z, timesteps, &acting, &[condition])?.into_iter().next()
            }
            _ => None,
        };
        let channels = self.image_shape()[0];
        let of_channels = |output: &Tensor, from: usize| part(output, from, channels);
        let variance = self.network.net().learns_variance().then(|| of_channels(&conditional, channels));
        Ok(Outputs {
            conditional: of_channels(&conditional, 0),
            unconditional: unconditional.map(|output| of_channels(&output, 0)),
            variance,
        })
    }

    /// The conditions of a call: both, or the one to follow.
    fn together(&self) -> Vec<&Condition> {
        self.guidance.each().take(self.guidance.conditions_per_call()).collect()
    }

    /// The guided outputs, for images that guidance `acts` on, and elsewhere those of the condition; `None` without
    /// any.
    fn guided(&self, conditional: &Tensor, unconditional: Option<&Tensor>, acts: &[bool]) -> Option<Tensor> {
        let unconditional = unconditional?;
        let mut guided = Vec::with_capacity(conditional.data.len());
        let mut next = 0;
        for (image, acts) in acts.iter().enumerate() {
            let own = conditional.item(image);
            if *acts {
                guided.extend(self.guidance.rule.guided(unconditional.item(next), own, self.guidance.scale));
                next += 1;
            } else {
                guided.extend_from_slice(own);
            }
        }
        Some(Tensor::new(conditional.shape.clone(), guided))
    }

    /// The output that renoises, in the network's scale. The learned variance and what guidance adds to the clean image
    /// are kept for those who ask.
    fn estimate(&mut self, z: &Tensor, timesteps: &[f64], levels: &[Level]) -> Result<Tensor> {
        let acts: Vec<bool> = levels.iter().map(|level| self.guidance.rule.acts_at(level.sigma)).collect();
        let Outputs { mut conditional, unconditional, variance } = self.of_conditions(z, timesteps, &acts)?;
        let without = match (&unconditional, self.guidance.conditions_per_call()) {
            (None, _) => 0,
            (Some(_), 1) => acts.iter().filter(|acts| **acts).count(),
            (Some(_), _) => acts.len(),
        };
        self.evaluations.conditional += acts.len() as u64;
        self.evaluations.unconditional += without as u64;
        self.variance = variance;
        self.shift = None;
        let guided = self.guided(&conditional, unconditional.as_ref(), &acts);
        let (Some(guided), Some(unconditional)) = (guided, unconditional) else { return Ok(conditional) };
        if self.guidance.rule.mode == GuidanceMode::Cfg {
            return Ok(guided);
        }
        let stride = conditional.stride();
        for (next, image) in every(acts.len()).into_iter().filter(|image| acts[*image]).enumerate() {
            conditional.data[image * stride..][..stride].copy_from_slice(unconditional.item(next));
        }
        self.shift = Some(scaling::apart(&self.table, self.prediction, (&guided, &conditional), z, levels));
        Ok(conditional)
    }

    /// The gradient of the classifier in x at the levels that guidance acts at, 0 at the others.
    fn classified(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        let Some(classifier) = &self.classifier else { return Ok(None) };
        let acts = |level: &Level| self.guidance.rule.acts_at(level.sigma);
        if !levels.iter().any(acts) {
            return Ok(None);
        }
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let mut gradient = classifier.gradient(&z, &timesteps)?;
        let stride = gradient.stride().max(1);
        for (values, level) in gradient.data.chunks_mut(stride).zip(levels) {
            let scale = if acts(level) { self.table.process().input_scale(level.sigma) } else { 0.0 };
            for value in values {
                *value = (f64::from(*value) * scale) as f32;
            }
        }
        self.evaluations.classifier += levels.len() as u64;
        Ok(Some(gradient))
    }

    /// The outputs of the network for the images `picks` with each of `conditions`, as many as a call takes: all of its
    /// channels.
    fn evaluate(
        &self,
        z: &Tensor,
        timesteps: &[f64],
        picks: &[usize],
        conditions: &[&Condition],
    ) -> Result<Vec<Tensor>> {
        let all = self.network.call(&self.call(z, timesteps, picks, conditions)?.inputs())?;
        let of_condition = |condition: usize| {
            let row = |pick: usize| {
                pick / self.images * self.images * conditions.len() + condition * self.images + pick % self.images
            };
            let mut shape = all.shape.clone();
            shape[0] = picks.len();
            Tensor::new(shape, (0..picks.len()).flat_map(|pick| all.item(row(pick)).to_vec()).collect::<Vec<_>>())
        };
        Ok((0..conditions.len()).map(of_condition).collect())
    }

    /// Images with the further channels after their own.
    fn with_channels(&self, z: Tensor) -> Tensor {
        let Some(appended) = &self.appended else { return z };
        let mut shape = z.shape.clone();
        shape[1] += appended.shape[1];
        let images = z.data.chunks_exact(z.stride().max(1));
        Tensor::new(shape, images.flat_map(|image| [image, &appended.data[..]].concat()).collect::<Vec<_>>())
    }

    /// The images `picks` with each of `conditions`, batch after batch: within a batch all images with one condition,
    /// and then all with the other. The last batch repeats its last image.
    fn call(&self, z: &Tensor, timesteps: &[f64], picks: &[usize], conditions: &[&Condition]) -> Result<Call> {
        let count = z.shape.first().copied().unwrap_or(0);
        if timesteps.len() != count {
            let what = format!("{} timesteps for {count} images", timesteps.len());
            return Err(Error::argument(what, "give one timestep per image"));
        }
        self.guidance.each().try_for_each(|condition| check_count(condition, count))?;
        let mut order = Vec::new();
        let (mut contexts, mut labels, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..picks.len()).step_by(self.images) {
            let batch: Vec<usize> = (first..first + self.images).map(|pick| picks[pick.min(picks.len() - 1)]).collect();
            for condition in conditions {
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
        let mut output = self.estimate(&z, &timesteps, levels)?;
        scaling::eps(&self.table, self.prediction, &mut output, &z, levels);
        Ok(output)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let output = self.estimate(&z, &timesteps, levels)?;
        Ok(scaling::parts(&self.table, self.prediction, output, (x, &z), levels))
    }

    fn variance(&self) -> Option<&Tensor> {
        self.variance.as_ref()
    }

    /// The classifier sees what the network sees: z, with the gradient in x by the chain rule.
    fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        match self.guidance.rule.mode {
            GuidanceMode::Cfg => self.classified(x, levels),
            GuidanceMode::CfgPlusPlus => Ok(None),
        }
    }

    /// With CFG++. The guided mean of a classifier is x0 + sigma^2 times its gradient (Tweedie's formula).
    fn shift(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        if self.guidance.rule.mode == GuidanceMode::Cfg {
            return Ok(None);
        }
        let Some(mut of_classifier) = self.classified(x, levels)? else { return Ok(self.shift.clone()) };
        let stride = of_classifier.stride().max(1);
        for (at, level) in levels.iter().enumerate() {
            let of_labels = self.shift.as_ref().map(|shift| shift.item(at));
            for (index, value) in of_classifier.data[at * stride..][..stride].iter_mut().enumerate() {
                let other = of_labels.map_or(0.0, |shift| f64::from(shift[index]));
                *value = (other + level.sigma.powi(2) * f64::from(*value)) as f32;
            }
        }
        Ok(Some(of_classifier))
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        let (z, timesteps) = scaling::input(&self.table, x, levels);
        let all = every(levels.len());
        let conditions: Vec<&Condition> = self.guidance.each().collect();
        for together in conditions.chunks(self.guidance.conditions_per_call()) {
            self.network.trace_nonfinite(&self.call(&z, &timesteps, &all, together)?.inputs())?;
        }
        Ok(())
    }
}

/// The outputs of a network with each condition, without the channels of a learned variance.
struct Outputs {
    /// One per image.
    conditional: Tensor,
    /// One per image that guidance acts on.
    unconditional: Option<Tensor>,
    /// The channels of a learned variance, one per image.
    variance: Option<Tensor>,
}

/// All of `count` images.
fn every(count: usize) -> Vec<usize> {
    (0..count).collect()
}

/// Some of the channels of images.
fn part(output: &Tensor, from: usize, channels: usize) -> Tensor {
    let mut shape = output.shape.clone();
    shape[1] = channels;
    let values: usize = shape[1..].iter().product();
    let first = from * values / channels.max(1);
    let items = (0..shape[0]).flat_map(|image| output.item(image)[first..first + values].to_vec());
    let data: Vec<f32> = items.collect();
    Tensor::new(shape, data)
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
