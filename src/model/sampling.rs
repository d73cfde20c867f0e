//! The description of a sampling run, by a builder.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Size;
use super::classifier::Classifier;
use super::device::{Event, Observer};
use super::guiding::RuleSettings;
use super::images::{Batch, Images};
use super::open::Model;
use super::text::Prompt;
use crate::data::Source;
use crate::data::mask::Mask;
use crate::data::picture::Picture;
use crate::denoise::GuidanceMode;
use crate::error::Result;
use crate::formats::Image;
use crate::graph::Compiler;
use crate::latent::passage::PromptStyle;
use crate::latent::tiles::Tiling;
use crate::noise::Generator;
use crate::sample::inpaint::Inpaint;
use crate::sample::run::Start;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;
use crate::tensor::Tensor;

/// The description of a sampling run. Every setting that is not given follows the model.
///
/// ```no_run
/// # use downhill::{Engine, Model, Options};
/// let engine = Engine::open(&Options::default())?;
/// let model = Model::open("google/ddpm-cifar10-32")?;
/// for batch in model.sampling().steps(10).count(64).seed(7).on(&engine)? {
///     for image in batch?.images()? {
///         println!("{} x {}", image.height, image.width);
///     }
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Sampling<'a> {
    pub(super) model: Model,
    pub(super) settings: Settings,
    pub(super) seed: u64,
    pub(super) generator: Generator,
    pub(super) count: Option<usize>,
    pub(super) images: Option<Vec<usize>>,
    pub(super) batch: Option<usize>,
    pub(super) size: Option<Size>,
    pub(super) start: Start,
    pub(super) analytic_data: Option<Source>,
    pub(super) picture: Option<Picture>,
    pub(super) mask: Option<Mask>,
    pub(super) inpaint: Option<Inpaint>,
    pub(super) no_paste: bool,
    pub(super) prompt: Option<Prompt>,
    pub(super) style: PromptStyle,
    pub(super) clip_skip: Option<usize>,
    pub(super) framing: Framing,
    pub(super) labels: Option<Vec<f64>>,
    pub(super) scale: Option<f64>,
    pub(super) rule: RuleSettings,
    pub(super) classifier: Option<(Classifier, f64)>,
    pub(super) tiling: Tiling,
    pub(super) memory: Option<u64>,
    pub(super) output: Output,
    pub(super) hooks: Hooks<'a>,
}

/// Sizes (height, width) and a place in pixels that SDXL embeds beside a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// The size of the image before it was scaled and cropped for training; by default that of the images.
    pub original: Option<Size>,
    /// Rows above and columns left of the crop; by default none.
    pub crop: Option<Size>,
    /// The size of the crop; by default that of the images.
    pub target: Option<Size>,
}

/// The parts of a batch that are kept.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each part is kept or not by itself")]
pub(super) struct Output {
    /// Pixels, which the latents of a pipeline are decoded for.
    pub pixels: bool,
    /// The prediction of x0 at each step.
    pub predictions: bool,
    /// The state after each step.
    pub path: bool,
    /// Look for the operation at fault where a value is not finite.
    pub trace: bool,
}

/// The functions and flags of the caller that a run looks at.
#[derive(Default)]
pub(super) struct Hooks<'a> {
    pub observer: Option<Box<Observer<'a>>>,
    pub cancel: Option<Arc<AtomicBool>>,
}

impl<'a> Sampling<'a> {
    /// A run of `model` that follows the model in everything.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self {
            model,
            settings: Settings::default(),
            seed: 0,
            generator: Generator::default(),
            count: None,
            images: None,
            batch: None,
            size: None,
            start: Start::Seeded,
            analytic_data: None,
            picture: None,
            mask: None,
            inpaint: None,
            no_paste: false,
            prompt: None,
            style: PromptStyle::default(),
            clip_skip: None,
            framing: Framing::default(),
            labels: None,
            scale: None,
            rule: RuleSettings::default(),
            classifier: None,
            tiling: Tiling::Auto,
            memory: None,
            output: Output { pixels: true, predictions: false, path: false, trace: false },
            hooks: Hooks::default(),
        }
    }

    /// All settings of the sampler at once, in place of those given before.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The number of steps.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.settings.steps = Some(steps);
        self
    }

    /// The sampler.
    #[must_use]
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = Some(sampler);
        self
    }

    /// The kind of schedule.
    #[must_use]
    pub fn schedule(mut self, kind: ScheduleKind) -> Self {
        self.settings.schedule = Some(kind);
        self
    }

    /// The seed of all noise, 0 by default. Image i of a seed is the same image in any batch, count and part of a run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The generator of all noise.
    #[must_use]
    pub fn generator(mut self, generator: Generator) -> Self {
        self.generator = generator;
        self
    }

    /// The number of images; by default one per start state, or one per class label, or 16, or 1 from a text.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// Only these images of the run, by their index.
    #[must_use]
    pub fn images(mut self, images: impl IntoIterator<Item = usize>) -> Self {
        self.images = Some(images.into_iter().collect());
        self
    }

    /// Only a range of the images of the run.
    #[must_use]
    pub fn range(self, images: Range<usize>) -> Self {
        self.images(images)
    }

    /// Images per call of the network; by default, as many as fit in a modest amount of memory.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Height and width of the images in pixels, in place of those of the network's training.
    #[must_use]
    pub fn size(mut self, height: usize, width: usize) -> Self {
        self.size = Some((height, width));
        self
    }

    /// Standard normals (n, c, h, w) to start from, in place of noise from the seed.
    #[must_use]
    pub fn noise(mut self, normals: Tensor) -> Self {
        self.start = Start::Noise(normals);
        self
    }

    /// States x (n, c, h, w) to start from, at the first level of the schedule: x = x0 + sigma eps.
    #[must_use]
    pub fn state(mut self, x: Tensor) -> Self {
        self.start = Start::State(x);
        self
    }

    /// The data whose Gaussian stands in for the first steps ([`Settings::analytic_start`]): those that the network was
    /// trained on; by default the digits, for networks of images of their size (for the embedded network those that it
    /// was trained on).
    #[must_use]
    pub fn analytic_data(mut self, data: Source) -> Self {
        self.analytic_data = Some(data);
        self
    }

    /// A picture to start from, under the noise that [`Settings::strength`] sets, 0.8 by default; with a mask, the
    /// picture whose other pixels are kept.
    #[must_use]
    pub fn picture(mut self, picture: Picture) -> Self {
        self.picture = Some(picture);
        self
    }

    /// The part of the picture that is painted. The rest of the picture is kept, in the way that
    /// [`Sampling::inpaint`] says; the walk begins at noise alone, unless [`Settings::strength`] is below 1.
    #[must_use]
    pub fn mask(mut self, mask: Mask) -> Self {
        self.mask = Some(mask);
        self
    }

    /// The way in which what is painted is made to fit the rest, [`Inpaint::Project`] by default. Networks of
    /// inpainting have their own.
    #[must_use]
    pub fn inpaint(mut self, way: Inpaint) -> Self {
        self.inpaint = Some(way);
        self
    }

    /// Leaves the known pixels of decoded images as they come through the autoencoder, if `leave`. By default,
    /// pipelines of latents with a mask have those of the picture in their place.
    #[must_use]
    pub fn no_paste(mut self, leave: bool) -> Self {
        self.no_paste = leave;
        self
    }

    /// A text to follow, for models of text.
    #[must_use]
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        let negative = self.prompt.take().and_then(|prompt| prompt.negative);
        self.prompt = Some(Prompt { text: text.into(), negative });
        self
    }

    /// A text to move away from.
    #[must_use]
    pub fn negative(mut self, text: impl Into<String>) -> Self {
        let prompt = self.prompt.take().map(|prompt| prompt.text).unwrap_or_default();
        self.prompt = Some(Prompt { text: prompt, negative: Some(text.into()) });
        self
    }

    /// Reads brackets in texts as weights, `(word:1.3)` and `[word]`, by the rule of [`crate::latent::emphasis`]. By
    /// default they are text.
    #[must_use]
    pub fn prompt_weights(mut self, weights: bool) -> Self {
        self.style.weights = weights;
        self
    }

    /// Reads texts that are longer than the encoder takes in chunks, each with its own start and end, and puts their
    /// embeddings one after the other; the other text has as many chunks. By default the rest is cut off.
    #[must_use]
    pub fn long_prompts(mut self, long: bool) -> Self {
        self.style.long = long;
        self
    }

    /// Blocks at the end of the text encoder that the text to follow does not go through, 0 by default.
    #[must_use]
    pub fn clip_skip(mut self, blocks: usize) -> Self {
        self.clip_skip = Some(blocks);
        self
    }

    /// The sizes and the crop that SDXL embeds beside a text.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Class labels, for models that take them: one per image; the images after the last label begin with the first
    /// again.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = f64>) -> Self {
        self.labels = Some(labels.into_iter().collect());
        self
    }

    /// The scale s of the guidance, `eps_u + s (eps_c - eps_u)`: as in diffusers' pipeline by default, 7.5 for texts (5
    /// for SDXL, 8.5 for latent consistency models) and 4 for class labels. 1 calls the network with the condition
    /// alone, and for texts so do lower scales. A latent consistency model takes the scale as an input.
    #[must_use]
    pub fn guidance_scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The role of the guided estimate in a step. With [`GuidanceMode::CfgPlusPlus`] it denoises, and the estimate
    /// without the condition renoises; the scale is then from 0 to 1, 0.6 by default, for texts, class labels and
    /// classifiers alike.
    #[must_use]
    pub fn guidance_mode(mut self, mode: GuidanceMode) -> Self {
        self.rule.mode = Some(mode);
        self
    }

    /// The sigmas at which guidance acts: above `low`, up to `high`. Elsewhere the network is called with the condition
    /// to follow alone, and no classifier.
    #[must_use]
    pub fn guidance_interval(mut self, low: f64, high: f64) -> Self {
        self.rule.interval = Some((low, high));
        self
    }

    /// The share of the guided output, 0 to 1, that is rescaled to the standard deviation of the conditional one, as
    /// `guidance_rescale` of diffusers.
    #[must_use]
    pub fn guidance_rescale(mut self, share: f64) -> Self {
        self.rule.rescale = Some(share);
        self
    }

    /// Guides a network of pixels to its class labels by a classifier (Dhariwal and Nichol, 2021), whose gradient of
    /// log p(y | x) is taken `scale` times. The classifier may also guide a network that takes no labels itself. For
    /// [`Sampler::Ddpm`] it moves the mean of a step by its variance times the gradient; for every other sampler it
    /// moves eps, after x0 is clipped, by -sigma times the gradient with respect to x.
    #[must_use]
    pub fn classifier(mut self, classifier: Classifier, scale: f64) -> Self {
        self.classifier = Some((classifier, scale));
        self
    }

    /// The choice between decoding latents whole and in strips of rows; by default, strips if a map does not fit the
    /// device.
    #[must_use]
    pub fn tiling(mut self, tiling: Tiling) -> Self {
        self.tiling = tiling;
        self
    }

    /// Device memory in bytes that a pipeline stays within, 8 GiB by default.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Does not decode latents: [`Batch::pixels`] stays empty.
    #[must_use]
    pub fn without_pixels(mut self) -> Self {
        self.output.pixels = false;
        self
    }

    /// Keeps the prediction of x0 at each step, as pixels, in [`Batch::predictions`].
    #[must_use]
    pub fn keep_predictions(mut self, keep: bool) -> Self {
        self.output.predictions = keep;
        self
    }

    /// Keeps the state after each step in [`Batch::path`].
    #[must_use]
    pub fn keep_path(mut self, keep: bool) -> Self {
        self.output.path = keep;
        self
    }

    /// Names the first operation at fault when a value is not finite.
    #[must_use]
    pub fn trace_nonfinite(mut self, trace: bool) -> Self {
        self.output.trace = trace;
        self
    }

    /// A function that sees every step and the end of every part of the run. An error stops the run.
    #[must_use]
    pub fn observe(mut self, observer: impl FnMut(Event) -> Result<()> + 'a) -> Self {
        self.hooks.observer = Some(Box::new(observer));
        self
    }

    /// A flag that stops the run at the next step, with [`crate::Error::Cancelled`], once it is set. Batches that are
    /// whole by then are yielded before the error.
    #[must_use]
    pub fn cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.hooks.cancel = Some(flag);
        self
    }

    /// Resolves the description for the model, and puts the run on a device.
    ///
    /// # Errors
    /// Those of [`Sampling::resolve`] and [`ModelRun::on`](super::ModelRun::on).
    pub fn on<'e>(self, compiler: impl Into<Compiler<'e>>) -> Result<Images<'e, 'a>> {
        self.resolve()?.on(compiler)
    }

    /// Samples all images.
    ///
    /// # Errors
    /// As [`Sampling::on`]; whatever the device reports, and [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn run<'e>(self, compiler: impl Into<Compiler<'e>>) -> Result<Vec<Image>> {
        let batches: Vec<Batch> = self.on(compiler)?.collect::<Result<_>>()?;
        let images = batches.iter().map(Batch::images).collect::<Result<Vec<_>>>()?;
        Ok(images.into_iter().flatten().collect())
    }
}
