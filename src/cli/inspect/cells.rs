//! What the studies of quality have in common: cells are sampled, kept, and held against the data.

use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::cli::args::Dtype;
use crate::cli::describe::model_json;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::data::{Dataset, Pixels, Source};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::model::{DenoiserOptions, Model, ModelDenoiser, NetworkModel};
use crate::quality::Extractor;
use crate::sample::samplers::Sampler;
use crate::study::compare::store::PART;
use crate::study::compare::{Cell, Reference, Score, Store, Subject, measure, resolve};

/// Where samples are kept, in the folder of the study.
const SAMPLES: &str = "samples";
/// Sets of real images that are measured for the floor of a table.
const FLOORS: usize = 3;

/// The flags that say what is sampled and what it is held against.
#[derive(Debug, clap::Args)]
pub struct CellArgs {
    /// A diffusers folder, a `.safetensors` file or a hub id; otherwise the embedded model of digits
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,

    /// What the samples are held against: `digits`, an `.npy`, an `.npz` or IDX file, or a folder, of 28 x 28 grey images
    #[arg(long, value_name = "DATA", default_value = "digits")]
    pub data: String,

    /// How many seeds, from --seed on: the spread of the figures
    #[arg(long, value_name = "K", default_value = "1", value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    pub seeds: u64,

    /// Images of a call
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub batch: Option<usize>,

    /// Clip predictions of x0 in every sampler; otherwise none clips, as in the paper
    #[arg(long)]
    pub clip: bool,
}

/// What was measured.
pub struct Measured {
    /// The score of each cell, in the order they were asked for.
    pub scores: Vec<Score>,
    /// Network calls and seconds of an image of each cell, where they are known.
    pub costs: Vec<Option<(usize, f64)>>,
    /// Sets of as many real images.
    pub floor: Vec<Score>,
    /// The data, in -1..1.
    pub data: Dataset,
}

/// Samples what is missing of `cells`, `count` images each, and measures them all.
///
/// # Errors
/// Whatever is wrong with the flags, the model, the data or the device; everything that can be refused without a device is.
pub fn measure(
    run: &mut StudyRun,
    args: &CellArgs,
    output: &OutputArgs,
    cells: &[Cell],
    count: usize,
) -> Result<Measured> {
    let model = Model::open_or_embedded(args.model.as_deref())?;
    let network = model.expect_network()?.clone();
    model.denoised_shape(None)?;
    for cell in cells {
        resolve(cell, &network.scheduler, &network.table, args.clip)?;
    }
    let data = Source::parse(&args.data)?.load(Pixels::Signed)?;
    let settings = json!({
        "model": network.name, "weights": network.weights.path().display().to_string(),
        "parameters": network.weights.parameters(), "clip": args.clip,
    });
    let store = Store::open(&output.output.join(SAMPLES), &settings)?;
    run.report.set("model", model_json(&model)).set("settings", settings).set("data", data_json(&data));
    run.clock.lap("model");
    let engine = run.engine()?;
    let extractor = Extractor::new(run.compiler(&engine))?;
    run.clock.lap("classifier");

    fill(run, args, &engine, model, &store, cells, count)?;
    run.clock.lap("sampling");
    let reference = Reference::new(&extractor, &data.samples, output.seed)?;
    let floor = measure::floor(&reference, &extractor, &data.samples, count, FLOORS)?;
    let scores =
        cells.iter().map(|cell| reference.score_cell(&extractor, &store, cell, count)).collect::<Result<Vec<_>>>()?;
    run.clock.lap("measuring");
    let costs = cells
        .iter()
        .map(|cell| store.times(cell))
        .map(|times| (times.images > 0).then(|| (times.calls, times.seconds / times.images as f64)));
    Ok(Measured { scores, costs: costs.collect(), floor, data })
}

/// Makes what is missing: a part of every cell before the next part of any, so that a run that is killed leaves cells of
/// one size.
fn fill(
    run: &StudyRun,
    args: &CellArgs,
    engine: &Engine,
    model: Model,
    store: &Store,
    cells: &[Cell],
    count: usize,
) -> Result<()> {
    let mut work = Vec::new();
    for first in (0..count).step_by(PART) {
        for cell in cells {
            if let Some(range) = store.missing_part(cell, first, count)? {
                work.push((cell, range));
            }
        }
    }
    let Some(largest) = work.iter().map(|(_, range)| range.len()).max() else { return Ok(()) };
    let NetworkModel { scheduler, table, .. } = model.expect_network()?.clone();
    let compiler = Compiler::new(engine, Dtype::F32.options(run.global));
    let options = DenoiserOptions { batch: args.batch, images: largest, label: None };
    let ModelDenoiser { mut denoiser, facts } = model.denoiser(compiler, &options, &mut |_| Ok(()))?;
    let batch = facts.batch;
    let steps = |cell: &Cell| Ok(resolve(cell, &scheduler, &table, args.clip)?.schedule.steps().len());
    let mut total = 0;
    for (cell, range) in &work {
        total += range.len().div_ceil(batch) * steps(cell)?;
    }
    let bar = run.progress("sampling", total as u64);
    let mut subject = Subject {
        denoiser: denoiser.as_mut(),
        config: scheduler.clone(),
        table: table.clone(),
        clip: args.clip,
        batch,
    };
    for (cell, range) in work {
        let made = subject.make(cell, range.clone(), &|steps| bar.advance(steps))?;
        store.keep(cell, range.start, &made)?;
    }
    Ok(())
}

/// The data in words, for a report.
pub fn data_json(data: &Dataset) -> Value {
    json!({ "source": data.name, "samples": data.count(), "sample_shape": data.sample_shape })
}

/// A number of images whose covariance can be formed.
///
/// # Errors
/// In words, for clap.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count) if (2..=1_000_000).contains(&count) => Ok(count),
        _ => Err("a number from 2 to 1000000".to_owned()),
    }
}

/// A number of network calls.
///
/// # Errors
/// In words, for clap.
pub fn calls(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(calls) if (1..=1000).contains(&calls) => Ok(calls),
        _ => Err("numbers from 1 to 1000 with commas between them".to_owned()),
    }
}

/// A sampler by its name.
///
/// # Errors
/// In words, for clap.
pub fn sampler(text: &str) -> std::result::Result<Sampler, String> {
    let named = Sampler::ALL.into_iter().find(|sampler| sampler.name() == text);
    named.ok_or_else(|| {
        let names: Vec<_> = Sampler::ALL.iter().map(|sampler| sampler.name()).collect();
        format!("samplers are {}", names.join(", "))
    })
}

/// A usage error for an empty or repeated list.
///
/// # Errors
/// As said.
pub fn distinct<T: PartialEq + std::fmt::Debug>(values: &[T], flag: &str) -> Result<()> {
    match (0..values.len()).find(|at| values[..*at].contains(&values[*at])) {
        None => Ok(()),
        Some(at) => {
            let what = format!("`--{flag}` lists {:?} twice", values[at]);
            Err(Error::argument(what, "give each value once"))
        }
    }
}
