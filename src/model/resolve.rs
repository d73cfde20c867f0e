//! From the description of a run to a run: everything that can be refused without a device is refused here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Size;
use super::classifier::ClassifierGuidance;
use super::device::Event;
use super::images::Images;
use super::kept::Kept;
use super::latent::{LatentModel, Source, USUAL_LABEL_SCALE};
use super::masking::Masking;
use super::memory::USUAL_BUDGET;
use super::network::NetworkModel;
use super::open::{Embedding, Kind, Model};
use super::sampling::{Hooks, Output, Sampling};
use super::text_run::Text;
use crate::checkpoint::Merged;
use crate::data::picture::Picture;
use crate::denoise::closed_form::ClosedForm;
use crate::denoise::{Guidance, GuidanceRule};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::latent::tiles::Tiling;
use crate::nets::architecture::{CallSize, LabelInput};
use crate::sample::inpaint::Known;
use crate::sample::run::{Run, Start};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::{Course, Settings, USUAL_STRENGTH};
use crate::tensor::Tensor;

/// Images of a run, unless the caller asks for another number.
const USUAL_COUNT: usize = 16;
/// The same for a pipeline from text.
const USUAL_TEXT_COUNT: usize = 1;

/// Class labels of a run, by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The labels, at least one. The images after the last label begin with the first again.
    pub labels: Vec<f64>,
    /// s in `eps_u + s (eps_c - eps_u)`, with the null class for u; 1 for none.
    pub scale: f64,
    /// The form of the guidance.
    pub rule: GuidanceRule,
}

/// A run that is resolved for its model, and ready for a device.
pub struct ModelRun<'a> {
    /// The model.
    pub model: Model,
    /// The images, with schedule, method and start. Images may be dropped before the run, and the method replaced; the
    /// batch is set on the device.
    pub run: Run,
    /// The sampler.
    pub sampler: Sampler,
    /// The kind of schedule; `None` for listed levels.
    pub kind: Option<ScheduleKind>,
    /// The settings of the sampler as the caller gave them.
    pub settings: Settings,
    /// The number of steps that the course was asked for, of which `strength` may leave out the first.
    pub asked: usize,
    /// Height and width of the images in pixels.
    pub size: Size,
    /// (channels, height, width) of a state: an image, or its latents.
    pub state: [usize; 3],
    /// Channels of the images.
    pub image_channels: usize,
    /// The text of the images, with its tokens.
    pub text: Option<Text>,
    /// The class labels of the images.
    pub labels: Option<Labels>,
    /// The classifier that guides the walk, with the classes of the images.
    pub classifier: Option<ClassifierGuidance>,
    /// The form of the guidance.
    pub rule: GuidanceRule,
    /// The part of the picture that is painted, where the rest is kept.
    pub masking: Option<Masking>,
    /// Sentences for the user: what differs from what the model's files ask for, what is cut off.
    pub notes: Vec<String>,
    pub(super) options: RunOptions<'a>,
}

/// The part of a run that matters only on a device.
pub(super) struct RunOptions<'a> {
    /// Images per call, if the caller asks for a number.
    pub batch: Option<usize>,
    /// A picture that becomes the start state once its encoder is on the device.
    pub picture: Option<Picture>,
    pub tiling: Tiling,
    pub memory: u64,
    pub output: Output,
    pub hooks: Hooks<'a>,
}

impl Labels {
    /// The label of an image, by its index in the whole run.
    #[must_use]
    pub fn of(&self, image: usize) -> f64 {
        self.labels[image % self.labels.len()]
    }
}

impl<'a> ModelRun<'a> {
    /// A function that sees every step and the end of every part of the run, in place of one given before. An error
    /// stops the run.
    #[must_use]
    pub fn observe(mut self, observer: impl FnMut(Event) -> Result<()> + 'a) -> Self {
        self.options.hooks.observer = Some(Box::new(observer));
        self
    }

    /// A flag that stops the run at the next step, as [`Sampling::cancel`].
    #[must_use]
    pub fn cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.options.hooks.cancel = Some(flag);
        self
    }

    fn with_labels(self, labels: Option<Labels>) -> Self {
        Self { labels, ..self }
    }

    fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Puts the model on a device. A compiler with options chooses precision and algorithms; a reference to an engine
    /// stands for the default ones.
    ///
    /// # Errors
    /// Before anything runs, [`Error::OverLimit`] for what the device or the budget cannot hold; then what the device
    /// reports.
    pub fn on<'e>(self, compiler: impl Into<Compiler<'e>>) -> Result<Images<'e, 'a>> {
        Images::new(self, compiler.into(), Kept::default())
    }
}

impl<'a> Sampling<'a> {
    /// Resolves the description for the model: refuses everything that can be refused without a device.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings that contradict each other or the model; those of [`Settings::resolve`].
    pub fn resolve(mut self) -> Result<ModelRun<'a>> {
        self.check_mask()?;
        if self.picture.is_some() && self.mask.is_none() {
            self.settings.strength = Some(self.settings.strength.unwrap_or(USUAL_STRENGTH));
        }
        if self.batch == Some(0) {
            return Err(Error::argument("a `batch` of no images", "give at least one image"));
        }
        match self.model.kind().clone() {
            Kind::Network(network) => self.of_network(&network),
            Kind::Latent(latent) => self.of_latents(&latent),
            Kind::ClosedForm(form) => self.of_closed_form(&form),
        }
    }

    fn of_network(self, network: &NetworkModel) -> Result<ModelRun<'a>> {
        self.expect_no_text(&network.name)?;
        self.expect_no_pipeline(&network.name)?;
        if network.net.labels() == LabelInput::None {
            self.expect_no_guidance(&network.name)?;
            if self.classifier.is_none() {
                self.expect_no_rule(&network.name)?;
            }
        }
        network.expect_denoiser()?;
        let mut course = self.settings.resolve(&network.scheduler, &network.table)?;
        let notes = of_files(network, self.model.loras());
        let size = network.size(self.given_size().or(self.size))?;
        let count = self.image_count(USUAL_COUNT)?;
        let labels = self.class_labels(network)?;
        let classifier = self.classified(network, size)?;
        self.check_rule(self.guided_by(labels.as_ref()), &course.method)?;
        network.net.check(labelled_call(labels.as_ref(), 1, size))?;
        let image = network.image_shape(size);
        let jump = self.jump(network, &course, image)?;
        let masking = self.masking(&mut course, size, None, false)?;
        let is_unit = network.scheduler.has_unit_range();
        let (start, known) = self.start_of_pixels(image, is_unit, masking.as_ref())?;
        let run = self.made(course, size, image, image[0], count, start, None)?.with_labels(labels);
        let assumed = classifier.iter().flat_map(|guidance| guidance.classifier.notes().to_vec()).collect();
        let run = run.with_masking(masking, known).with_jump(jump).with_notes(notes).with_notes(assumed);
        Ok(ModelRun { classifier, ..run })
    }

    /// The start of a walk of pixels, which are from 0 to 1 if `is_unit`, and the known part.
    fn start_of_pixels(
        &self,
        [channels, height, width]: [usize; 3],
        is_unit: bool,
        masking: Option<&Masking>,
    ) -> Result<(Start, Option<Known>)> {
        let Some(picture) = &self.picture else { return Ok((self.start.clone(), None)) };
        let mut pixels = picture.at(channels, (height, width))?;
        if is_unit {
            pixels.data.iter_mut().for_each(|value| *value = 0.5 * (*value + 1.0));
        }
        let known = masking.map(|masking| Masking::known(pixels.clone(), &masking.of_state));
        let start = self.start.clone();
        Ok((if self.begins_at_noise() { start } else { over(pixels, start)? }, known))
    }

    fn of_latents(self, latent: &LatentModel) -> Result<ModelRun<'a>> {
        let network = &latent.network;
        self.expect_no_classifier(&network.name)?;
        self.expect_no_jump(&network.name)?;
        let usual = match &latent.source {
            Source::Labels => {
                self.expect_no_text(&network.name)?;
                USUAL_COUNT
            }
            Source::Text(_) => {
                if self.labels.is_some() {
                    let what = format!("`{}` makes images from texts and does not take class labels", network.name);
                    return Err(Error::argument(what, "leave out `class_labels`"));
                }
                USUAL_TEXT_COUNT
            }
        };
        if latent.is_inpainting() && self.mask.is_none() {
            let what = format!("`{}` fills in parts of an image", network.name);
            return Err(Error::argument(what, "give the image by `init_image`, and by `mask` the part to paint in it"));
        }
        let mut course = self.settings.resolve(&network.scheduler, &network.table)?;
        let size = self.latent_size(latent)?;
        let text = match &latent.source {
            Source::Labels => None,
            Source::Text(source) => Some(self.text(latent, source, size)?),
        };
        let count = self.image_count(usual)?;
        let labels = self.class_labels(network)?;
        let guided = text.as_ref().map_or_else(|| self.guided_by(labels.as_ref()), Text::guided);
        self.check_rule(guided, &course.method)?;
        let state = latent.latent_shape(size);
        let call = match &text {
            Some(text) => CallSize::images(text.contexts(), (state[1], state[2])).with_tokens(text.length()),
            None => labelled_call(labels.as_ref(), 1, (state[1], state[2])),
        };
        network.net.check(call)?;
        let masking = self.masking(&mut course, size, Some(latent.factor()), latent.is_inpainting())?;
        if masking.is_some() && !self.begins_at_noise() {
            // Refuses start states beside the picture.
            over(Tensor::zeros([0]), self.start.clone())?;
        }
        // A picture becomes a start state when the encoder is on a device.
        let start = self.start.clone();
        let mut notes = of_files(network, self.model.loras());
        notes.extend(self.model.embeddings().iter().map(Embedding::note));
        notes.extend(latent.autoencoder_notes());
        notes.extend(latent.weight_notes());
        notes.extend(text.as_ref().map(Text::notes).unwrap_or_default());
        let run = self.made(course, size, state, latent.image_channels(), count, start, None)?;
        let run = run.with_labels(labels).with_masking(masking, None).with_notes(notes);
        Ok(ModelRun { text, ..run })
    }

    /// Height and width of the images of a pipeline.
    fn latent_size(&self, latent: &LatentModel) -> Result<Size> {
        let factor = latent.factor();
        let given = self.given_size().map(|(height, width)| (height * factor, width * factor));
        let pictured = self.picture.as_ref().map(|picture| fitting_size(picture.size(), factor));
        let size = given.or(self.size).or(pictured).or(latent.trained_size()).ok_or_else(|| {
            let what = format!("`{}` does not say how large its images are", latent.network.name);
            Error::argument(what, "give `width` and `height`")
        })?;
        latent.expect_size(size)?;
        Ok(size)
    }

    fn of_closed_form(self, form: &ClosedForm) -> Result<ModelRun<'a>> {
        self.expect_no_text(&form.name)?;
        self.expect_no_pipeline(&form.name)?;
        self.expect_no_guidance(&form.name)?;
        self.expect_no_rule(&form.name)?;
        self.expect_no_classifier(&form.name)?;
        self.expect_no_jump(&form.name)?;
        let refuse = |field: &str, hint: &str| {
            Err(Error::argument(format!("`{field}` has no meaning for `{}`", form.name), hint))
        };
        if self.output.trace {
            return refuse("trace_nonfinite", "a closed form has no operations to look at; leave it out");
        }
        if self.picture.is_some() && self.mask.is_none() {
            return refuse("init_image", "give the start states as an array by `init`, or a `mask` beside the image");
        }
        if self.mask.is_some() && !form.has_pixels() {
            return refuse("mask", "its samples are not images; leave out `mask`");
        }
        if self.labels.is_some() {
            return refuse("class_labels", "leave out `class_labels`");
        }
        let mut course = self.settings.on_sigmas(form.sigma_range())?;
        let image = form.image_shape();
        let size = (image[1], image[2]);
        if let Some((height, width)) = self.given_size().or(self.size).filter(|other| *other != size) {
            let name = &form.name;
            let what = format!("images of {height}x{width}, and those of `{name}` are {}x{}", size.0, size.1);
            return Err(Error::argument(what, "images have the size of the data"));
        }
        let (count, mean) = (self.image_count(USUAL_COUNT)?, form.mean().to_vec());
        let masking = self.masking(&mut course, size, None, false)?;
        let (start, known) = self.start_of_pixels(image, false, masking.as_ref())?;
        let run = self.made(course, size, image, image[0], count, start, Some(mean))?;
        Ok(run.with_masking(masking, known))
    }

    /// The run of a course.
    #[expect(clippy::too_many_arguments, reason = "private: the parts that the kinds of models differ in")]
    fn made(
        self,
        course: Course,
        size: Size,
        state: [usize; 3],
        image_channels: usize,
        count: usize,
        start: Start,
        mean: Option<Vec<f64>>,
    ) -> Result<ModelRun<'a>> {
        let rule = self.rule()?;
        let Course { sampler, kind, schedule, whole: _, asked, method, notes } = course;
        let scaled = self.picture.as_ref().and_then(|picture| picture.scaled_note(size));
        let images = self.images.unwrap_or_else(|| (0..count).collect());
        let run = Run {
            images,
            seed: self.seed,
            generator: self.generator,
            start,
            mean,
            trace_nonfinite: self.output.trace,
            ..Run::new(schedule, method, count)
        };
        // The batch follows on a device; shapes and indices are checked now.
        run.check(state)?;
        Ok(ModelRun {
            model: self.model,
            run,
            sampler,
            kind,
            settings: self.settings,
            asked,
            size,
            state,
            image_channels,
            text: None,
            labels: None,
            classifier: None,
            rule,
            masking: None,
            notes: notes
                .into_iter()
                .chain(self.picture.as_ref().and_then(|it| it.note().map(str::to_owned)))
                .chain(scaled)
                .collect(),
            options: RunOptions {
                batch: self.batch,
                picture: self.picture,
                tiling: self.tiling,
                memory: self.memory.unwrap_or(USUAL_BUDGET),
                output: self.output,
                hooks: self.hooks,
            },
        })
    }

    /// The size that start states have.
    fn given_size(&self) -> Option<Size> {
        let shape = &self.start.per_image()?.shape;
        Some((*shape.get(2)?, *shape.get(3)?))
    }

    /// The number of images: the one asked for, one per start state, one per label, or `usual`.
    fn image_count(&self, usual: usize) -> Result<usize> {
        let given = self.start.per_image().map(|tensor| tensor.shape[0]);
        let count = self.count.or(given).or(self.labels.as_ref().map(Vec::len)).unwrap_or(usual);
        match given {
            Some(given) if count > given => {
                let what = format!("a `count` of {count} images, and start states of {given}");
                Err(Error::argument(what, "leave out `count` to take them all"))
            }
            _ => Ok(count),
        }
    }

    /// The scale of the guidance.
    pub(super) fn scale(&self, usual: f64) -> Result<f64> {
        let scale = self.scale.unwrap_or(usual);
        if scale.is_finite() {
            return Ok(scale);
        }
        Err(Error::argument(format!("`cfg_scale` of {scale} is out of range"), "a number; 7.5 is usual for texts"))
    }

    /// The labels that a network needs.
    fn class_labels(&self, network: &NetworkModel) -> Result<Option<Labels>> {
        let null = match network.net.labels() {
            LabelInput::None => {
                return if self.labels.is_none() || self.classifier.is_some() {
                    Ok(None)
                } else {
                    let what = format!("`class_labels` has no meaning for `{}`", network.name);
                    Err(Error::argument(what, "leave out `class_labels`"))
                };
            }
            LabelInput::Rows(_) => {
                return Err(Error::bad_file_hint(
                    &network.config.path,
                    "the network needs a class vector for each image, which cannot be given here",
                    "raw calls at a timestep take class vectors",
                ));
            }
            LabelInput::Numbers { null, classes } => {
                self.check_labels(network, classes)?;
                null
            }
        };
        let usual = if null.is_some() { USUAL_LABEL_SCALE } else { 1.0 };
        let (scale, rule) = self.label_rule(network.net.labels(), usual)?;
        let labels = self.labels.clone().unwrap_or_default();
        // Guidance needs a null class.
        Guidance::classes_by(network.net.as_ref(), labels.clone(), scale, rule)?;
        Ok(Some(Labels { labels, scale, rule }))
    }

    fn check_labels(&self, network: &NetworkModel, classes: Option<usize>) -> Result<()> {
        let hint = match classes {
            Some(classes) => format!("give `class_labels`: numbers from 0 to {}", classes.saturating_sub(1)),
            None => "give `class_labels`: one number per image".to_owned(),
        };
        let labels = self.labels.as_deref().unwrap_or_default();
        if labels.is_empty() {
            return Err(Error::argument(format!("`{}` needs a class label for each image", network.name), hint));
        }
        let fits = |label: f64| classes.is_none_or(|most| label.fract() == 0.0 && (0.0..most as f64).contains(&label));
        match labels.iter().find(|label| !label.is_finite() || !fits(**label)) {
            None => Ok(()),
            Some(label) => Err(Error::argument(format!("`{}` does not have a class {label}", network.name), hint)),
        }
    }

    /// Refuses a scale of guidance, for a model without conditions.
    fn expect_no_guidance(&self, name: &str) -> Result<()> {
        match self.scale {
            None => Ok(()),
            Some(_) => Err(meaningless("cfg_scale", name)),
        }
    }

    /// Refuses settings of memory and decoding, for a model that is not a pipeline.
    fn expect_no_pipeline(&self, name: &str) -> Result<()> {
        match (self.tiling, self.memory) {
            (Tiling::Auto, None) => Ok(()),
            (_, Some(_)) => Err(meaningless("memory", name)),
            (Tiling::Never | Tiling::Rows(_), None) => Err(meaningless("tile", name)),
        }
    }

    /// Refuses a prompt and its settings, for a model that does not take texts.
    fn expect_no_text(&self, name: &str) -> Result<()> {
        for (field, is_set) in [("prompt_weights", self.style.weights), ("long_prompts", self.style.long)] {
            if is_set {
                return Err(meaningless(field, name));
            }
        }
        self.expect_no_framing(name)?;
        if self.clip_skip.is_some() {
            return Err(meaningless("clip_skip", name));
        }
        match self.prompt {
            None => Ok(()),
            Some(_) => Err(Error::argument(
                format!("`prompt` has no meaning for `{name}`, which does not take texts"),
                "leave out `prompt`, or give a folder with a text encoder",
            )),
        }
    }
}

/// The size of a picture for an autoencoder of a `factor`: each side rounded down to a multiple, and at least one.
pub(crate) fn fitting_size((height, width): Size, factor: usize) -> Size {
    let whole = |side: usize| (side / factor).max(1) * factor;
    (whole(height), whole(width))
}

/// Notes on the files of a network: what stands in for a file that is missing, and what changes its weights.
fn of_files(network: &NetworkModel, loras: &[Merged]) -> Vec<String> {
    let defaults =
        if network.net.preconditioning().is_some() { "the defaults of its code" } else { "diffusers' defaults" };
    let missing = format!("no `scheduler_config.json` beside the model: sampling with {defaults}");
    let scheduler = network.scheduler_file.is_none().then_some(missing);
    scheduler.into_iter().chain(network.weights.notes()).chain(loras.iter().map(Merged::note)).collect()
}

/// The error for a setting that has no meaning for a model.
pub(super) fn meaningless(field: &str, name: &str) -> Error {
    Error::argument(format!("`{field}` has no meaning for `{name}`"), format!("leave out `{field}`"))
}

/// A picture under the noise of a start.
pub(super) fn over(state: Tensor, start: Start) -> Result<Start> {
    match start {
        Start::Seeded => Ok(Start::Clean { state, noise: None }),
        Start::Noise(noise) => Ok(Start::Clean { state, noise: Some(noise) }),
        Start::State(_) | Start::Clean { .. } => {
            let hint = "give one of them; a `mask` keeps a part of the image beside start states";
            Err(Error::argument("`init_image` and `init` are both given", hint))
        }
    }
}

/// The call of a network that takes class labels, or no condition at all.
pub(super) fn labelled_call(labels: Option<&Labels>, images: usize, size: Size) -> CallSize {
    CallSize::images(images * labels.map_or(1, Labels::conditions_per_call), size)
}
