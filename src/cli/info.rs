//! `downhill info`: the facts about a model and its costs, the metadata of an image, a summary of an array, a LoRA or
//! moments.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::Lora;
use crate::cli::args::{Dtype, Global, Size, network_help};
use crate::cli::device::measured;
use crate::cli::inputs::begins_as_array;
use crate::cli::notes;
use crate::cli::numbers::whole;
use crate::cli::quiet::without_driver_chatter;
use crate::cli::stream::{self, is_stream};
use crate::cli::vectors;
use crate::error::{Error, Result};
use crate::formats::{npy, png};
use crate::gpu::Adapters;
use crate::graph::Target;
use crate::kernels::tuned::Choices;
use crate::kernels::{Family, FamilyName};
use crate::model::{FileParts, Model};
use crate::moments::Moments;
use crate::moments::merge::listed;
use crate::report::columns::{Lines, binary_bytes, thousands};
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::PlanFlags;

const EXAMPLES: &str = "\
Examples:
  downhill info                     the embedded model
  downhill info DIR --batch 16      the costs of a call of 16 images
  downhill info DIR --dtype f16     the costs with weights of float16
  downhill info DIR --plan          every dispatch of a call
  downhill info DIR --exact         the costs without Winograd's algorithm
  downhill info model.safetensors   the family and the parts of a single file
  downhill info samples.png         how an image was made
  downhill info style.safetensors   rank, alpha and layers of a LoRA
  downhill info x.npy               shape and range of an array
  downhill info part-3.npz          rows and settings of a file of `downhill moments`
  downhill sample -o - | downhill info -";

/// Describe a model, an image, an array, a LoRA or moments
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(id = "model", value_name = "PATH|MODEL",
        help = format!("{}; or a PNG, an `.npy`, a LoRA or an `.npz` of moments; `-` for a PNG or an `.npy` on \
            standard input", network_help()))]
    pub subject: Option<String>,

    /// Images per network call [default: 1]
    #[arg(short, long, value_parser = whole::<usize>(1..=1_000_000))]
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

/// The facts about a subject, as lines to print and as sections of a report.
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
        (Some(spec), Subject::Model) => match parts(spec, args, global)? {
            Some(found) => found,
            None => model(Some(spec), args, global, console)?,
        },
        (None, _) => model(None, args, global, console)?,
        (Some(file), Subject::Moments) => {
            refuse_model_flags(args, global, "moments")?;
            moments(Path::new(file))?
        }
        (Some(file), Subject::Stream) => {
            refuse_model_flags(args, global, "a file on standard input")?;
            stream::read(Path::new(file), |file| if begins_as_array(file) { array(file) } else { image(file) })?
        }
        (Some(file), Subject::Lora) => {
            refuse_model_flags(args, global, "a LoRA")?;
            lora(Path::new(file))?
        }
    };
    global.print(&found.text)?;
    let mut report = Report::new("info");
    for (section, value) in found.sections {
        report.set(section, value);
    }
    global.write_report(&report)
}

enum Subject {
    Stream,
    Image,
    Array,
    Moments,
    Lora,
    Model,
}

fn kind_of(subject: Option<&str>) -> Subject {
    let suffix = subject.and_then(|text| Path::new(text).extension()).map(OsStr::to_ascii_lowercase);
    match suffix.as_ref().and_then(|suffix| suffix.to_str()) {
        _ if subject.is_some_and(|text| is_stream(Path::new(text))) => Subject::Stream,
        Some("png") => Subject::Image,
        Some("npy") => Subject::Array,
        Some("npz") if subject.is_some_and(|text| Moments::is_at(Path::new(text))) => Subject::Moments,
        _ if subject.is_some_and(|text| Lora::is_at(Path::new(text))) => Subject::Lora,
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
            Err(Error::argument(format!("`--{flag}` has no meaning for {subject}"), format!("omit `--{flag}`")))
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

fn moments(file: &Path) -> Result<Found> {
    let moments = Moments::read(file)?;
    let description = &moments.description;
    let held = moments.rows();
    let mut lines = Lines::default();
    let all = thousands(description.rows as u64);
    let text = if moments.is_whole() { "all of them".to_owned() } else { listed(&held) };
    lines.add("kind", "moments of rows: mean and covariance");
    lines.add("rows", format!("{all}, in blocks of {}", moments.blocks().size()));
    lines.add("held", text);
    lines.add("shape of a row", format!("{:?}", description.shape));
    for (name, text) in &description.settings {
        lines.add(name, text);
    }
    let mut about = description.json();
    about["block"] = json!(moments.blocks().size());
    about["shards"] = json!(moments.shards);
    about["held"] = json!(held.iter().map(|rows| [rows.start, rows.end]).collect::<Vec<_>>());
    about["whole"] = json!(moments.is_whole());
    Ok(Found { text: lines.to_string(), sections: vec![("moments", about)] })
}

fn lora(file: &Path) -> Result<Found> {
    let lora = Lora::open(file)?;
    let summary = lora.summary();
    let list = |values: &[String]| if values.is_empty() { "none".to_owned() } else { values.join(", ") };
    let mut lines = Lines::default();
    lines.add("kind", format!("a LoRA with the names of {}", lora.dialect));
    lines.add("family", summary.family.unwrap_or("unknown"));
    if let Some(base) = &lora.base {
        lines.add("trained on", base);
    }
    lines.add("rank", list(&summary.ranks.iter().map(ToString::to_string).collect::<Vec<_>>()));
    lines.add("alpha", list(&summary.alphas.iter().cloned().collect::<Vec<_>>()));
    for (part, (modules, convolutions)) in &summary.parts {
        lines.add(part, format!("{modules} layers, {convolutions} of them convolutions"));
    }
    lines.add("size", binary_bytes(lora.bytes()));
    lines.add("sha256", &lora.sha256);
    let parts = summary.parts.iter().map(|(part, (modules, convolutions))| {
        (part.clone(), json!({ "modules": modules, "convolutions": convolutions }))
    });
    let about = json!({
        "dialect": lora.dialect.to_string(),
        "family": summary.family,
        "base": lora.base,
        "ranks": summary.ranks,
        "alphas": summary.alphas,
        "parts": parts.collect::<serde_json::Map<_, _>>(),
        "bytes": lora.bytes(),
        "sha256": lora.sha256,
    });
    Ok(Found { text: lines.to_string(), sections: vec![("lora", about)] })
}

fn array(file: &Path) -> Result<Found> {
    let tensor = npy::read(file)?;
    let summary = tensor.summary();
    let mut lines = Lines::default();
    lines.add("shape", format!("{:?}", tensor.shape));
    if let Some(range) = &summary.finite {
        lines.add("range", format!("{} to {}", range.least, range.most));
        lines.add("mean", format!("{:.6}, standard deviation {:.6}", range.mean, range.standard_deviation));
    }
    if summary.not_finite > 0 {
        let (others, all) = (thousands(summary.not_finite as u64), thousands(tensor.data.len() as u64));
        lines.add("not finite", format!("{others} of {all}"));
    }
    let finite = summary.finite.as_ref();
    let about = json!({
        "shape": tensor.shape,
        "least": finite.map(|range| range.least),
        "most": finite.map(|range| range.most),
        "mean": finite.map(|range| range.mean),
        "standard_deviation": finite.map(|range| range.standard_deviation),
        "not_finite": summary.not_finite,
    });
    Ok(Found { text: lines.to_string(), sections: vec![("array", about)] })
}

/// The parts of a model in a single file that is not the whole of it. Faults are left to the opening of the model.
fn parts(spec: &str, args: &Args, global: &Global) -> Result<Option<Found>> {
    let Ok(Some(parts)) = FileParts::find(spec) else { return Ok(None) };
    refuse_model_flags(args, global, "a part of a model")?;
    Ok(Some(Found { text: parts.to_string(), sections: vec![("model", parts.json())] }))
}

fn model(spec: Option<&str>, args: &Args, global: &Global, console: Console) -> Result<Found> {
    let model = Model::open_or_embedded(spec)?;
    let outline = model.outline(args.batch.unwrap_or(1), args.size.map(Into::into))?;
    let kernels = kernels(global, console)?;
    let description = outline.describe(&kernels.target(), &args.dtype.unwrap_or_default().options(global));
    if let Some(network) = model.network() {
        notes::say(network, console);
    }
    let mut text = description.to_string();
    if args.plan {
        text = format!("{text}\n{}", description.plans);
    }
    Ok(Found { text, sections: description.sections })
}

/// The kernels that plans are described for, on a device that is not opened.
struct Kernels {
    family: Family,
    measured: Choices,
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
    let choice = global.choice()?;
    match (without_driver_chatter(Adapters::find).find_described(&choice), wanted, &global.adapter) {
        (Ok(adapter), _, _) => {
            vectors::settle([&adapter]);
            let family = Family::for_adapter(&adapter, wanted);
            family.expect(wanted, &adapter)?;
            Ok(Kernels { family, measured: measured(global, &adapter, family, console) })
        }
        (Err(error), _, Some(_)) => Err(error),
        (Err(_), wanted, None) => {
            let family = match wanted {
                Some(FamilyName::Lanes) => Family::Lanes { width: USUAL_SUBGROUP },
                Some(FamilyName::Matrix) => Family::Matrix { width: USUAL_GPU_SUBGROUP, side: 16 },
                Some(FamilyName::Tile) | None => Family::Tile,
            };
            Ok(Kernels { family, measured: Choices::NONE })
        }
    }
}

/// Invocations of a subgroup of lavapipe on a processor with 256-bit vectors.
const USUAL_SUBGROUP: u32 = 8;
/// Invocations of a subgroup of a GPU with matrix units.
const USUAL_GPU_SUBGROUP: u32 = 32;
