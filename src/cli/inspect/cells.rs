//! The common part of the studies of quality: cells are sampled, kept, and compared with the data.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::captioned::Captioned;
use crate::cli::args::network_help;
use crate::cli::interrupt;
use crate::cli::numbers::whole;
use crate::cli::shard::Shard;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::data;
use crate::error::{Error, Result};
use crate::model::describe::model_json;
use crate::model::{DenoiserOptions, Facts, Model, ModelDenoiser, Session};
use crate::nets::inception::Preparation;
use crate::quality::Features;
use crate::sample::samplers::Sampler;
use crate::study::Advance;
use crate::study::compare::captioned::expect_texts;
use crate::study::compare::measure::measure as measured;
use crate::study::compare::{Cell, Measured, Missing, Store, resolve};
use crate::study::frechet::Images;

/// The folder of the samples, in that of the study.
const SAMPLES: &str = "samples";

/// The flags of the samples and of the images to compare them with.
#[derive(Debug, clap::Args)]
pub struct CellArgs {
    #[arg(value_name = "MODEL", help = network_help())]
    pub model: Option<String>,

    #[arg(long, value_name = "DATA", default_value = "digits",
        help = format!("Images to compare the samples with, or an `.npz` of their statistics: {}", data::forms()))]
    pub data: String,

    #[command(flatten)]
    pub features: FeatureArgs,

    /// Number of seeds, from --seed on; several show the spread of the results
    #[arg(long, value_name = "K", default_value = "1",
        value_parser = whole::<u64>(1..=1000))]
    pub seeds: u64,

    /// Images per network call
    #[arg(short, long, value_name = "N", value_parser = whole::<usize>(1..=4096))]
    pub batch: Option<usize>,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    pub class_label: Option<String>,

    /// Clip predictions of x0 in every sampler; by default no sampler clips, as in the paper
    #[arg(long)]
    pub clip: bool,
}

/// The flags of a network of features.
#[derive(Debug, clap::Args)]
pub struct FeatureArgs {
    /// Weights of InceptionV3, as pytorch-fid and torch-fidelity have them, for images of any size
    ///
    /// Without this flag, features are those of the embedded classifier of digits: 28 x 28, grey.
    #[arg(id = "features_file", long = "features", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The way from images to the input of InceptionV3: that of pytorch-fid, or that of torch-fidelity and TensorFlow
    #[arg(long, value_name = "AS", default_value = "pytorch-fid", requires = "features_file",
        value_parser = PossibleValuesParser::new(Preparation::NAMES.map(|(name, _)| name)))]
    pub prepare: String,
}

impl FeatureArgs {
    /// The network, not on a device yet.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(&self) -> Result<Features> {
        let Some(file) = &self.file else { return Ok(Features::Digits) };
        let preparation = Preparation::NAMES.iter().find(|(name, _)| *name == self.prepare);
        Features::inception(file, preparation.map_or_else(Preparation::default, |(_, preparation)| *preparation))
    }
}

/// Cells and the number of images of each.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub cells: &'a [Cell],
    pub count: usize,
    /// The part of the images that this run makes, where several runs share a folder.
    pub shard: Option<Shard>,
    /// The shape that images must have.
    pub image_shape: Option<[usize; 3]>,
    /// The texts of images, for a model of texts.
    pub captioned: Option<&'a Captioned>,
}

/// Samples the missing images of the cells, and measures them all; `None` as long as other runs have images to make.
///
/// # Errors
/// Those of the flags, the model, the data and the device; whatever can be refused without a device is refused first.
pub fn measure(run: &mut StudyRun, args: &CellArgs, output: &OutputArgs, wanted: Wanted) -> Result<Option<Measured>> {
    let Wanted { cells, count, captioned, .. } = wanted;
    let model = Model::open_or_embedded(args.model.as_deref())?;
    let network = model.expect_network()?.clone();
    let label = args.class_label.as_deref().map(|class| network.label(class)).transpose()?;
    let features = args.features.open()?;
    let shape = features.image_shape(model.name(), &made_shape(&model, args, label, captioned)?)?;
    if let Some(expected) = wanted.image_shape.filter(|expected| *expected != shape) {
        let what = format!("images of `{}` are of shape {shape:?}, those of the preset {expected:?}", model.name());
        return Err(Error::argument(what, "open the model of the table, or omit `--preset`"));
    }
    for cell in cells {
        resolve(cell, &network.scheduler, &network.table, args.clip)?;
    }
    let data = Images::read(&args.data)?;
    if let Some(of_data) = data.check(&features)?.filter(|of_data| *of_data != shape) {
        let what = format!("images of `{}` are of shape {of_data:?}, the samples {shape:?}", data.name());
        let hint = "compare images of one size, or give the statistics of the data: \
                    `downhill inspect frechet DATA --features FILE --save-statistics FILE.npz`";
        return Err(Error::argument(what, hint));
    }
    let mut settings = json!({
        "model": network.name, "weights": network.weights.path().display().to_string(),
        "parameters": network.weights.parameters(), "clip": args.clip,
    });
    if let Some(label) = label {
        settings["class_label"] = json!(label);
    }
    if let Some(captioned) = captioned {
        settings["captions"] = captioned.json();
    }
    let store = Store::open(&output.output.join(SAMPLES), &settings)?;
    run.report.set("model", model_json(&model)).set("settings", settings).set("data", data_json(&data));
    run.report.set("features", features.json());
    run.clock.lap("model");
    let engine = run.engine()?;
    let extractor = features.on(run.compiler(&engine), shape)?;
    run.clock.lap("classifier");
    let missing = Missing::find(&store, cells, count, &network, args.clip)?;
    let missing = match wanted.shard {
        None => missing,
        Some(Shard { index, of }) => missing.shard(index, of),
    };
    if let Some(images) = missing.largest_part() {
        let interrupt = interrupt::listen();
        let sampled = match captioned {
            None => {
                let options = DenoiserOptions { batch: args.batch, images, label };
                let made = model.denoiser(run.compiler(&engine), &options, &mut |_| Ok(()))?;
                let ModelDenoiser { mut denoiser, facts: Facts { batch, .. } } = made;
                run.timed("sampling", missing.steps(batch)?, "sampling", |advance| {
                    missing.make(denoiser.as_mut(), batch, &store, &|| {
                        advance(1);
                        interrupt.check()
                    })
                })
            }
            Some(captioned) => {
                let mut session = Session::new(model, run.compiler(&engine));
                let notes = run.timed("sampling", missing.steps(1)?, "sampling", |advance| {
                    missing.make_captioned(&mut session, captioned.texts(), &store, &|| {
                        advance(1);
                        interrupt.check()
                    })
                });
                notes.map(|notes| notes.iter().for_each(|note| run.console.note(&format!("note: {note}"))))
            }
        };
        if let Err(Error::Cancelled) = sampled {
            let folder = output.output.join(SAMPLES);
            interrupt::say(run.console, &format!("finished parts are in {}", folder.display()), &[], &[]);
        }
        sampled?;
    }
    let left = Missing::find(&store, cells, count, &network, args.clip)?.parts();
    if left > 0 {
        let text = format!("{left} parts of other shards are missing; the run that makes the last one measures");
        run.console.note(&text);
        return Ok(None);
    }
    let scorer = match captioned.and_then(|captioned| Some((captioned.clip.as_ref()?, captioned.captions()))) {
        Some((clip, captions)) => Some(clip.scorer(run.compiler(&engine), captions)?),
        None => None,
    };
    if let Some(cut) = scorer.as_ref().map(|scorer| scorer.truncated).filter(|cut| *cut > 0) {
        run.console.note(&format!("{cut} captions are longer than what CLIP reads, and are cut off"));
    }
    let full = !matches!(features, Features::Digits);
    let interrupt = interrupt::listen();
    let work = |advance: Advance| {
        let step = || {
            advance(1);
            interrupt.check()
        };
        measured((&extractor, scorer.as_ref()), &store, (cells, count), &data, (output.seed, full), &step)
    };
    let measured = run.timed("measuring", cells.len() as u64, "measuring", work);
    if let Err(Error::Cancelled) = measured {
        let folder = output.output.join(SAMPLES);
        interrupt::say(run.console, &format!("all samples are in {}", folder.display()), &[], &[]);
    }
    measured.map(Some)
}

/// (channels, height, width) of the images of a model, from the captions if it follows texts.
///
/// # Errors
/// [`Error::Argument`] for a model of texts without captions, for captions that a model does not follow, and for flags
/// that have no meaning beside them.
fn made_shape(model: &Model, args: &CellArgs, label: Option<f64>, captioned: Option<&Captioned>) -> Result<[usize; 3]> {
    if captioned.is_none() {
        if expect_texts(model).is_ok() {
            let what = format!("`{}` makes images from texts", model.name());
            return Err(Error::argument(what, "give a line of text for each image by `--captions FILE`"));
        }
        return model.denoised_shape(label);
    }
    let latent = expect_texts(model)?;
    for (flag, is_given) in [("class-label", label.is_some()), ("batch", args.batch.is_some())] {
        if is_given {
            let what = format!("`--{flag}` has no meaning for images from captions, which are sampled one at a time");
            return Err(Error::argument(what, format!("omit `--{flag}`")));
        }
    }
    let (height, width) = latent.trained_size().ok_or_else(|| {
        let what = format!("`{}` does not say the size of its images", model.name());
        Error::argument(what, "add `sample_size` to the configuration of its network")
    })?;
    Ok([latent.image_channels(), height, width])
}

/// The data for a report.
fn data_json(data: &Images) -> Value {
    match data {
        Images::Pixels(data) => {
            json!({ "source": data.name, "samples": data.count(), "sample_shape": data.sample_shape })
        }
        Images::Statistics(name, ..) => json!({ "source": name, "statistics": true }),
    }
}

/// Parses a number of images, large enough for a covariance.
///
/// # Errors
/// A message for clap.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count) if (2..=1_000_000).contains(&count) => Ok(count),
        _ => Err("a number from 2 to 1000000".to_owned()),
    }
}

/// Parses a number of network calls.
///
/// # Errors
/// A message for clap.
pub fn calls(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(calls) if (1..=1000).contains(&calls) => Ok(calls),
        _ => Err("numbers from 1 to 1000, separated by commas".to_owned()),
    }
}

/// Parses the name of a sampler.
///
/// # Errors
/// A message for clap.
pub fn sampler(text: &str) -> std::result::Result<Sampler, String> {
    text.parse().map_err(|error: Error| error.hint().unwrap_or_default())
}

/// Checks that a list holds each value once.
///
/// # Errors
/// [`Error::Argument`] naming the flag.
pub fn distinct<T: PartialEq + std::fmt::Debug>(values: &[T], flag: &str) -> Result<()> {
    match (0..values.len()).find(|at| values[..*at].contains(&values[*at])) {
        None => Ok(()),
        Some(at) => {
            let what = format!("`--{flag}` lists {:?} twice", values[at]);
            Err(Error::argument(what, "give each value once"))
        }
    }
}
