//! `downhill info`: what a model is and what it needs, how an image was made, what an array holds.

mod pipeline;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use clap::builder::RangedU64ValueParser;
use indicatif::{BinaryBytes, HumanCount};
use serde_json::{Value, json};

use crate::checkpoint::Weights;
use crate::cli::args::{Dtype, Global, Size, network_help};
use crate::cli::device::{expect_family, measured};
use crate::cli::quiet::without_driver_chatter;
use crate::cli::vectors;
use crate::denoise::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::formats::{npy, png};
use crate::gpu::Adapters;
use crate::graph::Target;
use crate::kernels::choice::{Algorithm, Layer};
use crate::kernels::{Family, FamilyName};
use crate::model::describe::{algorithms_json, family_text, footprint_json, model_json};
use crate::model::{Call, Kind, Model, NetworkModel};
use crate::report::columns::Lines;
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::PlanFlags;

const EXAMPLES: &str = "\
Examples:
  downhill info                     the embedded model
  downhill info DIR --batch 16      what a call of 16 images needs
  downhill info DIR --dtype f16     what that saves
  downhill info DIR --plan          every dispatch of a call
  downhill info DIR --exact         the same without Winograd's algorithm
  downhill info samples.png         how an image was made
  downhill info x.npy               shape and range of an array";

/// Describe a model, an image or an array
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(id = "model", value_name = "PATH|MODEL", help = format!("{}; or a `.png` or an `.npy`", network_help()))]
    pub subject: Option<String>,

    /// Images per network call [default: 1]
    #[arg(short, long, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    batch: Option<usize>,

    /// Height and width of the images [default: the size that the model was trained on]
    #[arg(long, value_name = "HxW")]
    size: Option<Size>,

    /// Precision of the stored weights; arithmetic is in float32 [default: f32]
    #[arg(long, value_enum, value_name = "DTYPE")]
    dtype: Option<Dtype>,

    /// Print the plan of a call: the output, kernel and operands of each dispatch
    #[arg(long)]
    plan: bool,
}

/// What was found: lines to print, and the same for a report.
struct Found {
    text: String,
    sections: Vec<(&'static str, Value)>,
}

/// Runs `downhill info`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let found = match (args.subject.as_deref(), kind_of(args.subject.as_deref())) {
        (Some(file), Subject::Image) => {
            refuse_model_flags(args, global, "an image")?;
            image(Path::new(file))?
        }
        (Some(file), Subject::Array) => {
            refuse_model_flags(args, global, "an array")?;
            array(Path::new(file))?
        }
        (spec, _) => model(spec, args, global, console)?,
    };
    global.print(&found.text)?;
    let mut report = Report::new("info");
    for (section, value) in found.sections {
        report.set(section, value);
    }
    global.write_report(&report)
}

enum Subject {
    Image,
    Array,
    Model,
}

fn kind_of(subject: Option<&str>) -> Subject {
    let suffix = subject.and_then(|text| Path::new(text).extension()).map(OsStr::to_ascii_lowercase);
    match suffix.as_ref().and_then(|suffix| suffix.to_str()) {
        Some("png") => Subject::Image,
        Some("npy") => Subject::Array,
        _ => Subject::Model,
    }
}

fn refuse_model_flags(args: &Args, global: &Global, subject: &str) -> Result<()> {
    let given = [
        ("batch", args.batch.is_some()),
        ("size", args.size.is_some()),
        ("dtype", args.dtype.is_some()),
        ("plan", args.plan),
        ("adapter", global.adapter.is_some()),
        ("exact", global.exact),
        ("family", global.family.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Error::argument(format!("`--{flag}` has no meaning for {subject}"), format!("leave out `--{flag}`")))
        }
    }
}

fn image(file: &Path) -> Result<Found> {
    let metadata = png::read_metadata(file)?;
    let mut lines = Lines::default();
    for (keyword, text) in &metadata {
        lines.add(keyword, text);
    }
    if metadata.is_empty() {
        lines.add("metadata", "none");
    }
    let pairs: serde_json::Map<_, _> = metadata.into_iter().map(|(keyword, text)| (keyword, text.into())).collect();
    Ok(Found { text: lines.to_string(), sections: vec![("metadata", pairs.into())] })
}

fn array(file: &Path) -> Result<Found> {
    let tensor = npy::read(file)?;
    let finite = || tensor.data.iter().copied().filter(|value| value.is_finite());
    let count = finite().count();
    let (least, most) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    let mean = finite().map(f64::from).sum::<f64>() / count as f64;
    let variance = finite().map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count as f64;
    let others = tensor.data.len() - count;
    let mut lines = Lines::default();
    lines.add("shape", format!("{:?}", tensor.shape));
    if count > 0 {
        lines.add("range", format!("{least} to {most}"));
        lines.add("mean", format!("{mean:.6}, standard deviation {:.6}", variance.sqrt()));
    }
    if others > 0 {
        lines.add("not finite", format!("{} of {}", HumanCount(others as u64), HumanCount(tensor.data.len() as u64)));
    }
    let summary = json!({
        "shape": tensor.shape, "least": least, "most": most, "mean": mean,
        "standard_deviation": variance.sqrt(), "not_finite": others,
    });
    Ok(Found { text: lines.to_string(), sections: vec![("array", summary)] })
}

fn model(spec: Option<&str>, args: &Args, global: &Global, console: Console) -> Result<Found> {
    let model = Model::open_or_embedded(spec)?;
    let network = model.expect_network()?;
    if let Kind::Latent(latent) = model.kind() {
        return pipeline::describe(&model, latent, args, global, console);
    }
    let size = network.size(args.size.map(Into::into))?;
    let batch = args.batch.unwrap_or(1);
    let call_size = network.call(batch, size);
    let graph = network.graph(call_size)?;
    let kernels = kernels(global, console)?;
    let options = args.dtype.unwrap_or_default().options(global);
    let call = Call::of(&graph, &kernels.target(), &options);
    let family = family_text(kernels.family);

    let mut lines = Lines::default();
    describe_network(&mut lines, network);
    lines.add("one call", format!("{batch} x {} x {}, {family}", size.0, size.1));
    let gflop = call.flops as f64 / 1e9;
    lines.add("  operations", format!("{gflop:.3} GFLOP in {} dispatches", call.plan.steps.len()));
    lines.add("  algorithms", &call.algorithms);
    let footprint = &call.footprint;
    let (weights, stored) = (BinaryBytes(footprint.weights), BinaryBytes(network.weights.bytes()));
    let (dtype, more) = (footprint.dtype, BinaryBytes(call.transformed_bytes));
    lines.add(
        "  weights",
        format!("{weights} in {dtype} as laid out, {more} of it by transformed kernels; {stored} in the file"),
    );
    let least = BinaryBytes(footprint.lower_bound);
    lines.add("  values", format!("{}, at least {least}", BinaryBytes(footprint.arena)));
    let over_least = footprint.over_least(footprint.allocated);
    let peak = BinaryBytes(footprint.allocated);
    lines.add("  peak", format!("{peak}, {over_least:.3} x (weights + least values)"));
    let mut text = lines.to_string();
    if args.plan {
        text = format!("{text}\n{}", call.plan);
    }
    let about = json!({
        "batch": batch, "height": size.0, "width": size.1, "family": family,
        "gflop": gflop, "dispatches": call.plan.steps.len(), "memory": footprint_json(footprint, None),
        "algorithms": algorithms_json(&call.algorithms), "transformed_bytes": call.transformed_bytes,
    });
    let config = Value::Object(network.config.values.clone());
    let scheduler = network.scheduler_file.as_ref().map(|file| Value::Object(file.values.clone()));
    let sections =
        vec![("model", model_json(&model)), ("config", config), ("scheduler", scheduler.into()), ("call", about)];
    Ok(Found { text, sections })
}

/// The kernels that plans are described for, on a device that is not opened.
struct Kernels {
    family: Family,
    measured: BTreeMap<Layer, Algorithm>,
}

impl Kernels {
    fn target(&self) -> Target<'_> {
        Target { measured: &self.measured, ..Target::without_device(self.family) }
    }
}

/// The kernels of the adapter that would compute, and its algorithms: the one asked for, or the best there is, or those
/// for GPUs where there is none.
fn kernels(global: &Global, console: Console) -> Result<Kernels> {
    let wanted = global.family.map(FamilyName::from);
    let choice = global.choice();
    match (without_driver_chatter(Adapters::find).find_described(&choice), wanted, &global.adapter) {
        (Ok(adapter), _, _) => {
            vectors::settle([&adapter]);
            let family = Family::for_adapter(&adapter, wanted);
            expect_family(&adapter, family, wanted)?;
            Ok(Kernels { family, measured: measured(global, &adapter, family, console) })
        }
        (Err(error), _, Some(_)) => Err(error),
        (Err(_), wanted, None) => {
            let family = match wanted {
                Some(FamilyName::Lanes) => Family::Lanes { width: USUAL_SUBGROUP },
                Some(FamilyName::Matrix) => Family::Matrix { width: USUAL_GPU_SUBGROUP, side: 16 },
                Some(FamilyName::Tile) | None => Family::Tile,
            };
            Ok(Kernels { family, measured: BTreeMap::new() })
        }
    }
}

/// Invocations of a subgroup of lavapipe on a processor with 256-bit vectors.
const USUAL_SUBGROUP: u32 = 8;
/// Invocations of a subgroup of a GPU with matrix units.
const USUAL_GPU_SUBGROUP: u32 = 32;

fn describe_network(lines: &mut Lines, network: &NetworkModel) {
    let (net, weights) = (&network.net, &network.weights);
    lines.add("model", &network.name);
    lines.add("class", net.class_name());
    let trained = net.sample_size().map_or("any size".to_owned(), |(height, width)| format!("{height} x {width}"));
    let multiple = net.size_multiple();
    lines.add("images", format!("{} channels, {trained}; sides are multiples of {multiple}", net.in_channels()));
    lines.add("answer", format!("{} channels, {}", net.out_channels(), predicted(network, "image")));
    for (heading, text) in net.details() {
        lines.add(heading, text);
    }
    let stored = BinaryBytes(weights.bytes());
    lines.add("parameters", format!("{} in {}, {stored}", HumanCount(weights.parameters()), dtypes(weights)));
    let scheduler = network.scheduler.class_name.as_deref().unwrap_or("none, diffusers' defaults");
    lines.add("scheduler", scheduler);
    let (least, most) = (network.table.sigma_min(), network.table.sigma_max());
    lines.add("noise", format!("{} timesteps, sigma {least:.4} to {most:.4}", network.table.timesteps()));
}

/// The quantity that a network predicts, in words; `clean` is the name of x0.
fn predicted(network: &NetworkModel, clean: &str) -> String {
    match network.scheduler.prediction_type {
        PredictionType::Epsilon => "the noise eps".to_owned(),
        PredictionType::Sample => format!("the {clean} x0"),
        PredictionType::VPrediction => "the velocity v".to_owned(),
        PredictionType::FlowPrediction => "the velocity of a flow".to_owned(),
    }
}

/// The types that weights are stored in, in words.
fn dtypes(weights: &Weights) -> String {
    let mut dtypes: Vec<String> =
        weights.names().filter_map(|name| weights.dtype(name)).map(|dtype| dtype.to_string()).collect();
    dtypes.sort();
    dtypes.dedup();
    dtypes.join(" and ")
}
