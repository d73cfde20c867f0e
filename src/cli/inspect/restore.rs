//! `downhill inspect restore`: methods and samplers for inverse problems on the same measurements.

use std::path::Path;

use serde_json::json;

use super::cells::{self, FeatureArgs};
use crate::cli::args::denoiser_help;
use crate::cli::interrupt;
use crate::cli::numbers::{whole, whole_from};
use crate::cli::parts::CellShardArgs;
use crate::cli::shard::Shard;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data::{self, Dataset, HELD_OUT, Pixels, SEEN, Source};
use crate::error::{Error, Result};
use crate::model::describe::model_json;
use crate::model::{DenoiserOptions, Model};
use crate::restore::{FORMS, OperatorSpec};
use crate::study::compare::Store;
use crate::study::restorations::baselines::Prior;
use crate::study::restorations::report::{FILES, Row, Setting, results};
use crate::study::restorations::{Cell, Problem, Reference, is_divergence, missing, seconds};
use crate::study::results::{File, Results};
use crate::tensor::Tensor;

const HELP: &str = "\
Examples:
  downhill inspect restore -o restorations
  downhill inspect restore --operators mask:missing.png,blur:1,downsample:4 -n 256 -o restorations
  downhill inspect restore wiener:digits --methods ddrm,pigdm --samplers ddim --steps 20,100 -o gaussian
  downhill inspect restore DIR --data images/ --first 2000 --features inception.safetensors -o restorations

The images of --data from --first on are measured by each operator under noise, and restored by each method with each \
sampler; `ddrm` is its own sampler. --steps counts calls of the denoiser, which no sampler exceeds; `dps` takes one \
product with its Jacobian per step, and `pigdm` two. Each takes as long as about two calls.

The images of --known are what is known beforehand: their mean, and the posterior mean of a Gaussian with their \
covariance (the Wiener filter), stand below the methods, with the pseudo-inverse of the measurement.

The Frechet distance is that of the restorations from the images that were measured, comparable between equal numbers \
of images only; the row `other images of the data` is that of the images that follow. A method that restores means has \
a good PSNR and a bad Frechet distance. An interrupted run resumes where it stopped.";

/// The folder of the restorations, in that of the study.
const SAMPLES: &str = "restorations";
/// The most images that baselines take as known.
const MOST_KNOWN: usize = 8000;

/// Compare methods and samplers for inverse problems: PSNR, Frechet distance, time
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[arg(help = denoiser_help())]
    model: Option<String>,

    #[arg(long, value_name = "OPERATORS", value_delimiter = ',', default_value = "blur:1,downsample:4",
        help = format!("Operators, separated by commas: {FORMS}"))]
    operators: Vec<String>,

    /// Standard deviation of the noise of the measurements, in the scale of the images
    #[arg(long, value_name = "S", default_value_t = 0.05)]
    noise: f64,

    /// Methods, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "project,ddrm,dps,pigdm")]
    methods: Vec<String>,

    /// Names from `downhill sample --sampler list`, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = cells::sampler,
        default_value = "ddim,ge,dpm++2m")]
    samplers: Vec<crate::sample::samplers::Sampler>,

    /// Numbers of calls of the denoiser, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = cells::calls, default_value = "10,20")]
    steps: Vec<usize>,

    /// Number of images
    #[arg(short = 'n', long, value_name = "N", value_parser = cells::count, default_value = "64")]
    count: usize,

    #[arg(long, value_name = "DATA", default_value = HELD_OUT,
        help = format!("Images to measure: {}", data::forms()))]
    data: String,

    /// The first of the images to measure
    #[arg(long, value_name = "INDEX", default_value_t = 0, value_parser = whole_from::<usize>(0))]
    first: usize,

    /// Images that are known beforehand, for the baselines [default: `digits-train` for `digits-held-out`, else those
    /// of --data before --first]
    #[arg(long, value_name = "DATA")]
    known: Option<String>,

    #[command(flatten)]
    features: FeatureArgs,

    /// Images per call of the denoiser
    #[arg(short, long, value_name = "N", value_parser = whole::<usize>(1..=4096))]
    batch: Option<usize>,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    class_label: Option<String>,

    #[command(flatten)]
    shard: CellShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect restore";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        cells::distinct(&self.operators, "operators")?;
        cells::distinct(&self.methods, "methods")?;
        cells::distinct(&self.samplers, "samplers")?;
        cells::distinct(&self.steps, "steps")?;
        let specs = self.operators.iter().map(|text| text.parse()).collect::<Result<Vec<OperatorSpec>>>()?;
        let model = Model::open_or_embedded(self.model.as_deref())?;
        let label = self.class_label.as_deref().map(|class| model.expect_network()?.label(class)).transpose()?;
        let image = model.denoised_shape(label)?;
        let is_unit = model.network().is_some_and(|network| network.scheduler.has_unit_range());
        let features = self.features.open()?;
        let shape = features.image_shape(model.name(), &image).ok();
        if shape.is_none() {
            run.console.note("note: these images have no features, and no Frechet distance; `--features` gives some");
        }
        let pixels = if is_unit { Pixels::Unit } else { Pixels::Signed };
        let data = Source::parse(&self.data)?.load(pixels)?;
        let known = self.known.as_deref().or((self.data == HELD_OUT).then_some(SEEN));
        let known = known.map(|text| Source::parse(text)?.load(pixels)).transpose()?;
        let set = self.set(&data, known.as_ref(), image)?;
        let problem = |spec: &OperatorSpec| Problem::new(spec, &set.measured, self.noise, self.output.seed);
        let problems = specs.iter().map(problem).collect::<Result<Vec<_>>>()?;
        let cells = Cell::all(&problems, &self.methods, &self.samplers, &self.steps, self.output.seed)?;
        for cell in &cells {
            cell.course(&model)?;
        }
        let mut settings =
            json!({ "model": model.name(), "data": self.data, "first": self.first, "noise": self.noise });
        if let Some(network) = model.network() {
            settings["parameters"] = json!(network.weights.parameters());
        }
        if let Some(label) = label {
            settings["class_label"] = json!(label);
        }
        let shard = self.shard.resolve(run)?;
        let store = Store::open(&self.output.output.join(SAMPLES), &settings)?;
        run.report.set("model", model_json(&model)).set("settings", settings).set("features", features.json());
        run.clock.lap("model");
        let engine = run.engine()?;
        let parts = missing(&store, &cells, self.count, shard.unwrap_or_default())?;
        if let Some(images) = parts.iter().map(|(_, range)| range.len()).max() {
            let pulls_back = parts.iter().any(|(cell, _)| cell.method.pulls_back());
            let options = DenoiserOptions { batch: self.batch, images, label };
            let compiler = run.compiler(&engine);
            let mut restorer = model.clone().restorer(compiler, &options, pulls_back, &mut |_| Ok(()))?;
            let interrupt = interrupt::listen();
            let restored = run.timed("restoring", parts.len() as u64, "restoring", |advance| {
                for (cell, range) in &parts {
                    let problem = &problems[cell.problem.0];
                    let made =
                        cell.make((&model, &mut restorer), problem, (range.clone(), label), &|| interrupt.check());
                    advance(1);
                    match made {
                        Ok(made) => store.keep(*cell, range.start, &made)?,
                        Err(error) if is_divergence(&error) => store.give_up(*cell, &error)?,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            });
            if let Err(Error::Cancelled) = restored {
                let folder = self.output.output.join(SAMPLES);
                interrupt::say(run.console, &format!("finished parts are in {}", folder.display()), &[], &[]);
            }
            restored?;
        }
        let left = missing(&store, &cells, self.count, Shard::WHOLE)?.len();
        if left > 0 {
            let text = format!("{left} parts of other shards are missing; the run that makes the last one measures");
            run.console.note(&text);
            return Ok(Results::unfinished());
        }
        let extractor = shape.map(|shape| features.on(run.compiler(&engine), shape)).transpose()?;
        let reference = Reference::new(&set.measured, extractor.as_ref(), &model)?;
        let mut rows = Vec::new();
        for cell in &cells {
            let is_kept = !store.is_given_up(cell);
            let score = is_kept.then(|| reference.score_kept(&store, cell, &problems[cell.problem.0])).transpose()?;
            rows.push(Row::of_cell(cell, score, seconds(&store, cell)));
        }
        let known = set.known.as_ref().map(Prior::new);
        for (index, problem) in problems.iter().enumerate() {
            let simple = ("pseudo-inverse", problem.measurement.pseudo_inverse());
            let others = known.as_ref().map(|known| known.restorations(&problem.measurement)).transpose()?;
            for (name, images) in [simple].into_iter().chain(others.into_iter().flatten()) {
                rows.push(Row::of_baseline(index, name, reference.score(problem, &images)?));
            }
        }
        let floor = set.others.as_ref().map(|others| reference.distance(others)).transpose()?.flatten();
        run.clock.lap("measuring");
        Ok(results(&rows, &Setting { problems: &problems, images: self.count, floor }))
    }
}

/// The images of a run, (n, c, h, w) in the scale of the model.
struct Set {
    measured: Tensor,
    known: Option<Tensor>,
    /// As many others, which follow.
    others: Option<Tensor>,
}

impl Args {
    fn set(&self, data: &Dataset, known: Option<&Dataset>, image: [usize; 3]) -> Result<Set> {
        let (first, last) = (self.first, self.first.saturating_add(self.count));
        let [channels, height, width] = image;
        let len = channels * height * width;
        for (data, last) in [(data, last)].into_iter().chain(known.map(|known| (known, 2))) {
            if data.dimension() != len || last > data.count() {
                let (found, count) = (data.dimension(), data.count());
                let what = format!("{last} images of {image:?}, of `{}`: {count} of {found} values", data.name);
                return Err(Error::argument(what, "take data of the size of the model's images, and fewer of them"));
            }
        }
        let images = |data: &Dataset, range: std::ops::Range<usize>| {
            let part = data.samples.slice(range);
            Tensor::new([part.shape[0], channels, height, width], part.data)
        };
        let known = match known {
            Some(known) => Some(images(known, 0..known.count().min(MOST_KNOWN))),
            None => (first > 1).then(|| images(data, 0..first.min(MOST_KNOWN))),
        };
        let next = last.saturating_add(self.count);
        let others = (next <= data.count()).then(|| images(data, last..next));
        Ok(Set { measured: images(data, first..last), known, others })
    }
}
