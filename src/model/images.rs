//! A run on a device: batches of images, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Size;
use super::classifier::ClassifierGuidance;
use super::decoding::Decoding;
use super::device::{Event, upload};
use super::kept::{Kept, NetworkPlan, PlanKey, StageKey};
use super::latent::{LatentModel, Source};
use super::masking::Masking;
use super::memory::{Algorithms, batch_within, within_budget};
use super::network::NetworkModel;
use super::open::Kind;
use super::plans::{Plans, parts};
use super::resolve::{Labels, ModelRun, RunOptions, labelled_call, over};
use super::sampling::{Hooks, Output};
use super::text_run::{Text, encode};
use crate::denoise::closed_form::ClosedForm;
use crate::denoise::{Condition, Denoiser, Evaluations, Guidance, GuidanceRule, NetworkDenoiser};
use crate::error::{Error, Result};
use crate::formats::Image;
use crate::formats::images::{quantise, signed};
use crate::gpu::stop_by;
use crate::graph::{Compiler, Footprint, Plan};
use crate::kernels::selftest;
use crate::latent::autoencoder::{Encoder, scaled};
use crate::nets::architecture::CallSize;
use crate::sample::inpaint::Known;
use crate::sample::run::{Batches, Run, Samples};
use crate::sample::walk::Progress;
use crate::spectral::samples::MOST_VECTORS;
use crate::tensor::Tensor;

/// The name of the only [`Part`] of a network of pixels.
pub const NETWORK: &str = "network";

/// A batch of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The images, by their index in the whole run.
    pub indices: Vec<usize>,
    /// The samples in the scale of the model, z = sqrt(alpha bar) x, (n, c, h, w): images, or latents.
    pub samples: Tensor,
    /// The images, about -1 to 1, (n, channels, height, width); without items under
    /// [`super::Sampling::without_pixels`].
    pub pixels: Tensor,
    /// The prediction of x0 at each step as pixels, if they are kept.
    pub predictions: Vec<Tensor>,
    /// The state after each step, (n, c, h, w), if they are kept: z for schedules of timesteps, x for those of sigmas.
    pub path: Vec<Tensor>,
}

impl Batch {
    /// The images in 8 bits.
    ///
    /// # Errors
    /// [`Error::Argument`] for other than 1, 3 or 4 channels; [`Error::NonFinite`].
    pub fn images(&self) -> Result<Vec<Image>> {
        quantise(&self.pixels)
    }
}

/// A network of a run on the device, for reports.
#[derive(Clone, Debug)]
pub struct Part {
    /// The name: [`NETWORK`], or the component of a pipeline.
    pub name: &'static str,
    /// Its largest footprint.
    pub footprint: Footprint,
}

/// Memory, batch and algorithms of a run on its device.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Images per call of the network.
    pub batch: usize,
    /// The networks.
    pub parts: Vec<Part>,
    /// The algorithms of the convolutions of a network of pixels.
    pub algorithms: Option<Algorithms>,
}

/// The batches of a run on a device, as an iterator.
pub struct Images<'e, 'a> {
    batches: Batches,
    denoiser: Option<Sampled<'e>>,
    decoding: Option<Decoding<'e>>,
    labels: Option<Labels>,
    classifier: Option<ClassifierGuidance>,
    /// Known pixels that are put into decoded images.
    pasted: Option<Known>,
    output: Output,
    hooks: Hooks<'a>,
    facts: Facts,
    /// Batches that were sampled before any is decoded.
    waiting: VecDeque<Batch>,
    /// The parts that the next run of the same model may use, apart from those that this run has on the device.
    kept: Kept<'e>,
    /// Steps done.
    steps: usize,
    evaluations: Option<Evaluations>,
    /// `true` if pixels are from 0 to 1 in the states, and not from -1 to 1.
    has_unit_range: bool,
    /// `true` if the caller stopped the run while batches were waiting for the decoder.
    is_cancelled: bool,
    is_over: bool,
}

/// The denoiser of a run.
enum Sampled<'e> {
    Network(Box<NetworkDenoiser<'e>>),
    ClosedForm(Box<dyn Denoiser + 'e>),
}

/// A run without its model, on its way to a device.
struct Job<'a> {
    run: Run,
    size: Size,
    state: [usize; 3],
    text: Option<Text>,
    labels: Option<Labels>,
    classifier: Option<ClassifierGuidance>,
    rule: GuidanceRule,
    masking: Option<Masking>,
    /// `true` if the walk begins at noise, although there is a picture.
    begins_at_noise: bool,
    /// Known pixels that are put into decoded images.
    pasted: Option<Known>,
    options: RunOptions<'a>,
}

impl<'e, 'a> Images<'e, 'a> {
    /// The images of a run on a device, with what the last run of the same model has left.
    pub(super) fn new(run: ModelRun<'a>, compiler: Compiler<'e>, kept: Kept<'e>) -> Result<Self> {
        let begins_at_noise = run.begins_at_noise();
        let ModelRun { model, run, size, state, text, labels, classifier, rule, masking, options, .. } = run;
        let pasted = None;
        let job = Job { run, size, state, text, labels, classifier, rule, masking, begins_at_noise, pasted, options };
        match model.into_kind() {
            Kind::Network(network) => Self::of_network(job, &network, compiler, kept),
            Kind::Latent(latent) => Self::of_latents(job, latent, compiler, kept),
            Kind::ClosedForm(form) => Self::of_closed_form(job, form, compiler, kept),
        }
    }

    /// The number of images per call, and what the run takes.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The images that the network of the run was called on so far; `None` for closed forms.
    #[must_use]
    pub fn evaluations(&self) -> Option<Evaluations> {
        match &self.denoiser {
            Some(Sampled::Network(network)) => Some(network.evaluations()),
            Some(Sampled::ClosedForm(_)) | None => self.evaluations,
        }
    }

    /// The images, with schedule, method, start and batch.
    #[must_use]
    pub fn run(&self) -> &Run {
        self.batches.run()
    }

    fn of_network(
        mut job: Job<'a>,
        network: &NetworkModel,
        compiler: Compiler<'e>,
        mut kept: Kept<'e>,
    ) -> Result<Self> {
        let labels = job.labels.as_ref();
        let call = |images| labelled_call(labels, images, job.size);
        let key = job.plan_key(call(1));
        let NetworkPlan { batch, plan, algorithms, .. } = kept.network(key, || {
            let (batch, plan) = network.batch(compiler, key.batch, key.images, &call)?;
            let graph = network.graph(call(batch))?;
            let algorithms = Some(Algorithms::of(&plan, graph.as_ref(), &compiler.target(), &compiler.options));
            Ok(NetworkPlan { key, batch, plan, algorithms })
        })?;
        let mut facts = Facts { batch, parts: parts(NETWORK, [&plan]), algorithms };
        let guidance = by_labels(network, labels, job.rule)?;
        let hooks = &mut job.options.hooks;
        let mut denoiser = match kept.denoiser(&guidance, batch, job.size)? {
            Some(denoiser) => denoiser,
            None => Box::new(upload(network, (guidance, None), (batch, job.size), plan, compiler, hooks)?),
        };
        let guide = job.classifier.as_ref().map(|guide| guide.on(compiler, batch, job.size)).transpose()?;
        denoiser.set_classifier(guide.map(|(gradient, part)| {
            facts.parts.push(part);
            gradient
        }));
        let images = Self::begin(job, Sampled::Network(denoiser), None, facts, kept)?;
        Ok(Self { has_unit_range: network.scheduler.has_unit_range(), ..images })
    }

    fn of_closed_form(
        mut job: Job<'a>,
        form: Arc<ClosedForm>,
        compiler: Compiler<'e>,
        mut kept: Kept<'e>,
    ) -> Result<Self> {
        let denoiser = if let Some(denoiser) = kept.form() {
            denoiser
        } else {
            selftest::ensure(compiler.engine)?;
            job.options.hooks.done("self-test", "")?;
            // The data go to the device from here; a model that is kept keeps its own.
            let denoiser = Arc::unwrap_or_clone(form).ready(compiler.engine)?;
            job.options.hooks.done("denoiser", "")?;
            denoiser
        };
        let batch = job.options.batch.unwrap_or(MOST_VECTORS).min(job.run.images.len()).max(1);
        let facts = Facts { batch, ..Facts::default() };
        Self::begin(job, Sampled::ClosedForm(denoiser), None, facts, kept)
    }

    fn of_latents(
        mut job: Job<'a>,
        latent: Box<LatentModel>,
        compiler: Compiler<'e>,
        mut kept: Kept<'e>,
    ) -> Result<Self> {
        let latents = (job.state[1], job.state[2]);
        let key = job.plan_key(pipeline_call(&job, 1));
        let NetworkPlan { batch, plan, .. } = kept.network(key, || {
            let (batch, plan) = pipeline_batch(&latent, &job, compiler)?;
            Ok(NetworkPlan { key, batch, plan, algorithms: None })
        })?;
        let stage_key = job.stage_key();
        let make = || Plans::new(&latent, job.text.as_ref(), job.size, &job.options, compiler);
        let plans = kept.stages(stage_key, make)?;
        let both_stay = plans.check(&latent, &plan, job.options.memory, compiler)?;
        if !both_stay || !plans.all_stay(&plan, job.options.memory) {
            kept.leave_device();
        }
        let facts = Facts { batch, parts: plans.parts(&latent, &plan), algorithms: None };
        let Plans { text, encoder, decoder, preview } = plans;
        let guidance = match (&job.text, &latent.source) {
            (Some(given), Source::Text(source)) => {
                if let Some(guidance) = kept.guidance(given) {
                    guidance
                } else {
                    let hooks = &mut job.options.hooks;
                    let encoded = encode(&[given], source, text, compiler, &mut |event| hooks.see(event))?;
                    for guidance in &encoded {
                        kept.keep_guidance(given, guidance);
                    }
                    encoded.into_iter().next().unwrap_or_default()
                }
            }
            _ => by_labels(&latent.network, job.labels.as_ref(), job.rule)?,
        };
        let hooks = &mut job.options.hooks;
        let mut appended = None;
        if let (Some(picture), Some(plan)) = (job.options.picture.take(), encoder) {
            let pixels = picture.at(latent.image_channels(), job.size)?;
            let encoder = Encoder::planned(compiler.engine, &latent.autoencoder_files, 1, job.size, plan)?;
            let encode = |pixels: &Tensor| -> Result<Tensor> {
                Ok(scaled(latent.autoencoder.as_ref(), &encoder.encode(pixels)?.mean))
            };
            if !job.begins_at_noise {
                job.run.start = over(encode(&pixels)?, std::mem::take(&mut job.run.start))?;
            }
            if let Some(masking) = &job.masking {
                (job.run.known, appended) = masking.of_latents(&pixels, &encode)?;
                job.pasted = masking.pasted(pixels);
            }
            hooks.done("image", "")?;
        }
        if appended.is_some() {
            // What a network takes besides belongs to one picture.
            kept.leave_device();
        }
        let denoiser = match kept.denoiser(&guidance, batch, latents)? {
            Some(denoiser) => denoiser,
            None => Box::new(upload(&latent.network, (guidance, appended), (batch, latents), plan, compiler, hooks)?),
        };
        let mut decoding = match kept.decoding(stage_key) {
            Some(decoding) => decoding,
            None => Decoding::new(latent, compiler, latents, (decoder, preview), both_stay),
        };
        if both_stay {
            decoding.load()?;
        }
        Self::begin(job, Sampled::Network(denoiser), Some(decoding), facts, kept)
    }

    /// Returns the parts that the next run of the same model may use.
    pub(super) fn into_kept(self) -> Kept<'e> {
        let Self { denoiser, decoding, mut kept, .. } = self;
        let stays = decoding.as_ref().is_none_or(|decoding| decoding.both_stay);
        match denoiser {
            Some(Sampled::Network(denoiser)) if stays => kept.keep_denoiser(denoiser),
            Some(Sampled::ClosedForm(form)) => kept.keep_form(form),
            Some(Sampled::Network(_)) | None => {}
        }
        if let Some(decoding) = decoding.filter(|_| stays) {
            kept.keep_decoding(decoding);
        }
        kept
    }

    fn begin(
        job: Job<'a>,
        denoiser: Sampled<'e>,
        decoding: Option<Decoding<'e>>,
        facts: Facts,
        kept: Kept<'e>,
    ) -> Result<Self> {
        let batches = Run { batch: facts.batch, ..job.run }.batches(job.state)?;
        let RunOptions { output, hooks, .. } = job.options;
        Ok(Self {
            batches,
            denoiser: Some(denoiser),
            decoding,
            labels: job.labels,
            classifier: job.classifier,
            pasted: job.pasted,
            output,
            hooks,
            facts,
            waiting: VecDeque::new(),
            kept,
            steps: 0,
            evaluations: None,
            has_unit_range: false,
            is_cancelled: false,
            is_over: false,
        })
    }

    /// The next batch, not decoded; `None` after the last.
    fn sample(&mut self) -> Result<Option<Batch>> {
        let Self { batches, denoiser, labels, classifier, output, hooks, steps, .. } = self;
        let _stoppable = stop_by(hooks.cancel.clone());
        let Some(denoiser) = denoiser else { return Ok(None) };
        let indices = batches.upcoming().to_vec();
        if let (Sampled::Network(network), Some(labels), false) = (&mut *denoiser, labels.as_ref(), indices.is_empty())
        {
            network.set_condition(Condition::classes(indices.iter().map(|at| labels.of(*at)).collect()))?;
        }
        if let (Sampled::Network(network), Some(guidance)) = (&mut *denoiser, classifier.as_ref())
            && let Some(gradient) = network.classifier_mut()
        {
            gradient.set_classes(guidance.classes(&indices));
        }
        let (mut predictions, mut path) = (Vec::new(), Vec::new());
        let schedule = batches.run().schedule.clone();
        let watch = &mut |progress: &Progress| {
            if output.predictions {
                predictions.push(progress.x0.clone());
            }
            if output.path {
                path.push(schedule.shown(progress.x, progress.step.to));
            }
            *steps += 1;
            hooks.see(Event::Step { images: &indices, progress })
        };
        let Some(Samples { images, x }) = batches.next_batch(denoiser.as_mut(), watch).transpose()? else {
            return Ok(None);
        };
        let samples = batches.run().in_model_scale(&x);
        Ok(Some(Batch { indices: images, samples, pixels: Tensor::zeros([0]), predictions, path }))
    }

    /// Adds the pixels to a batch.
    fn decode(&mut self, mut batch: Batch) -> Result<Batch> {
        let to_pixels = |latents: &Tensor, is_preview: bool| match &self.decoding {
            None if self.has_unit_range => Ok(signed(latents)),
            None => Ok(latents.clone()),
            Some(decoding) => decoding.pixels(latents, is_preview),
        };
        if self.output.pixels {
            batch.pixels = to_pixels(&batch.samples, false)?;
            if let Some(known) = &self.pasted {
                known.paste(&mut batch.pixels);
            }
        }
        batch.predictions = batch.predictions.iter().map(|latents| to_pixels(latents, true)).collect::<Result<_>>()?;
        Ok(batch)
    }

    fn step(&mut self) -> Result<Option<Batch>> {
        let waits = self.decoding.as_ref().is_some_and(super::decoding::Decoding::waits);
        if waits {
            loop {
                match self.sample() {
                    Ok(Some(batch)) => self.waiting.push_back(batch),
                    Ok(None) => break,
                    Err(Error::Cancelled) if !self.waiting.is_empty() => {
                        // Whole batches are decoded before the run ends.
                        self.is_cancelled = true;
                        self.hooks.cancel = None;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.hooks.done("sampling", format!("{} steps", self.steps))?;
            self.evaluations = self.evaluations();
            self.denoiser = None;
            if let Some(decoding) = &mut self.decoding {
                decoding.load()?;
            }
        }
        if self.denoiser.is_none() {
            return match self.waiting.pop_front() {
                Some(batch) => self.decode(batch).map(Some),
                None if self.is_cancelled => Err(Error::Cancelled),
                None => self.hooks.done("decoding", "").map(|()| None),
            };
        }
        if let Some(batch) = self.sample()? {
            self.decode(batch).map(Some)
        } else {
            let also = if self.decoding.is_some() { ", and decoding" } else { "" };
            self.hooks.done("sampling", format!("{} steps{also}", self.steps)).map(|()| None)
        }
    }
}

impl Iterator for Images<'_, '_> {
    type Item = Result<Batch>;

    /// The next batch. An error ends the iteration.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.step();
        self.is_over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl Hooks<'_> {
    /// Shows an event to the caller.
    pub(super) fn see(&mut self, event: Event) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(Error::Cancelled);
        }
        self.observer.as_mut().map_or(Ok(()), |observer| observer(event))
    }

    /// Reports that a part is done.
    pub(super) fn done(&mut self, part: &'static str, detail: impl Into<String>) -> Result<()> {
        self.see(Event::Done { part, detail: detail.into() })
    }
}

impl Sampled<'_> {
    fn as_mut(&mut self) -> &mut dyn Denoiser {
        match self {
            Self::Network(network) => network.as_mut(),
            Self::ClosedForm(form) => form.as_mut(),
        }
    }
}

impl Job<'_> {
    /// The properties that determine the plan of the network, whose call for one image is `one`.
    fn plan_key(&self, one: CallSize) -> PlanKey {
        let images = self.run.images.len();
        PlanKey { one, batch: self.options.batch, images, memory: self.options.memory }
    }

    /// The properties that determine the plans of the other stages.
    fn stage_key(&self) -> StageKey {
        StageKey {
            size: self.size,
            tiling: self.options.tiling,
            memory: self.options.memory,
            texts: self.text.as_ref().map(|text| (text.encodes_negative(), text.clip_skip)),
            has_picture: self.options.picture.is_some(),
            has_predictions: self.options.output.predictions,
        }
    }
}

/// The call of a pipeline's network for a number of images.
fn pipeline_call(job: &Job, images: usize) -> CallSize {
    let latents = (job.state[1], job.state[2]);
    match &job.text {
        None => labelled_call(job.labels.as_ref(), images, latents),
        Some(text) => CallSize::images(images * text.contexts(), latents).with_tokens(text.length()),
    }
}

/// Images per call of a pipeline's network, and the plan of such a call.
fn pipeline_batch(latent: &LatentModel, job: &Job, compiler: Compiler) -> Result<(usize, Plan)> {
    let (network, budget) = (&latent.network, job.options.memory);
    let call = |images| pipeline_call(job, images);
    let images = job.run.images.len().max(1);
    let (batch, one) = if let Some(batch) = job.options.batch {
        (batch.clamp(1, images), None)
    } else {
        let one = network.plan(compiler, call(1))?;
        (batch_within(&Footprint::of(&one), budget).clamp(1, images), Some(one))
    };
    let plan = match one {
        Some(one) if batch == 1 => one,
        Some(_) | None => network.plan(compiler, call(batch))?,
    };
    within_budget(latent.component, Footprint::of(&plan).allocated, budget)?;
    Ok((batch, plan))
}

/// Guidance by the first label, until a batch sets its own; no condition without labels.
fn by_labels(network: &NetworkModel, labels: Option<&Labels>, rule: GuidanceRule) -> Result<Guidance> {
    // A classifier follows the rule whether the labels do or not.
    let Some(labels) = labels else { return Ok(Guidance { rule, ..Guidance::default() }) };
    let guidance = Guidance::classes_by(network.net.as_ref(), vec![labels.of(0)], labels.scale, labels.rule)?;
    Ok(Guidance { rule, ..guidance })
}
