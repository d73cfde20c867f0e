//! The common part of the studies of quality: cells are sampled, kept, and compared with the data.

use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::cli::args::network_help;
use crate::cli::interrupt;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::data::{self, Dataset, Pixels, Source};
use crate::error::{Error, Result};
use crate::model::describe::model_json;
use crate::model::{DenoiserOptions, Model, ModelDenoiser};
use crate::quality::Extractor;
use crate::sample::samplers::Sampler;
use crate::study::compare::measure::measure as measured;
use crate::study::compare::{Cell, Measured, Missing, Store, resolve};

/// The folder of the samples, in that of the study.
const SAMPLES: &str = "samples";
/// (channels, height, width) of the images that the classifier takes.
const DIGITS: [usize; 3] = [1, 28, 28];

/// The flags of the samples and of the images to compare them with.
#[derive(Debug, clap::Args)]
pub struct CellArgs {
    #[arg(value_name = "MODEL", help = network_help())]
    pub model: Option<String>,

    #[arg(long, value_name = "DATA", default_value = "digits",
        help = format!("28 x 28 grey images to compare the samples with: {}", data::forms()))]
    pub data: String,

    /// Number of seeds, from --seed on; several show the spread of the results
    #[arg(long, value_name = "K", default_value = "1",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    pub seeds: u64,

    /// Images per network call
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub batch: Option<usize>,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    pub class_label: Option<String>,

    /// Clip predictions of x0 in every sampler; by default no sampler clips, as in the paper
    #[arg(long)]
    pub clip: bool,
}

/// Samples the missing images of `cells`, `count` per cell, and measures them all.
///
/// # Errors
/// Those of the flags, the model, the data and the device; whatever can be refused without a device is refused first.
pub fn measure(
    run: &mut StudyRun,
    args: &CellArgs,
    output: &OutputArgs,
    cells: &[Cell],
    count: usize,
) -> Result<Measured> {
    let model = Model::open_or_embedded(args.model.as_deref())?;
    let network = model.expect_network()?.clone();
    let label = args.class_label.as_deref().map(|class| network.label(class)).transpose()?;
    expect_digits(model.name(), &model.denoised_shape(label)?)?;
    for cell in cells {
        resolve(cell, &network.scheduler, &network.table, args.clip)?;
    }
    let data = Source::parse(&args.data)?.load(Pixels::Signed)?;
    if data.dimension() != DIGITS.iter().product::<usize>() {
        expect_digits(&data.name, &data.sample_shape)?;
    }
    let mut settings = json!({
        "model": network.name, "weights": network.weights.path().display().to_string(),
        "parameters": network.weights.parameters(), "clip": args.clip,
    });
    if let Some(label) = label {
        settings["class_label"] = json!(label);
    }
    let store = Store::open(&output.output.join(SAMPLES), &settings)?;
    run.report.set("model", model_json(&model)).set("settings", settings).set("data", data_json(&data));
    run.clock.lap("model");
    let engine = run.engine()?;
    let extractor = Extractor::new(run.compiler(&engine))?;
    run.clock.lap("classifier");
    let missing = Missing::find(&store, cells, count, &network, args.clip)?;
    if let Some(images) = missing.largest_part() {
        let options = DenoiserOptions { batch: args.batch, images, label };
        let ModelDenoiser { mut denoiser, facts } = model.denoiser(run.compiler(&engine), &options, &mut |_| Ok(()))?;
        let batch = facts.batch;
        let interrupt = interrupt::listen();
        let sampled = run.timed("sampling", missing.steps(batch)?, "sampling", |advance| {
            missing.make(denoiser.as_mut(), batch, &store, &|| {
                advance(1);
                interrupt.check()
            })
        });
        if let Err(Error::Cancelled) = sampled {
            let folder = output.output.join(SAMPLES);
            interrupt::say(run.console, &format!("finished parts are in {}", folder.display()), &[], &[]);
        }
        sampled?;
    }
    let measured = measured(&extractor, &store, cells, count, &data, output.seed)?;
    run.clock.lap("measuring");
    Ok(measured)
}

/// Refuses other images than the classifier's, by which samples are compared with data.
fn expect_digits(name: &str, shape: &[usize]) -> Result<()> {
    if shape == DIGITS {
        return Ok(());
    }
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let what = format!("images of `{name}` are {}, and cannot be compared with digits", sides.join(" x "));
    Err(Error::argument(what, "samples and data are compared by a classifier of digits, 1 x 28 x 28"))
}

/// The data for a report.
fn data_json(data: &Dataset) -> Value {
    json!({ "source": data.name, "samples": data.count(), "sample_shape": data.sample_shape })
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
