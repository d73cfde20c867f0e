//! `downhill denoise`: one raw call of a network, or of a closed-form denoiser.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::cli::args::{Dtype, Global, denoiser_help};
use crate::cli::device;
use crate::cli::inputs::{read_finite, read_images};
use crate::cli::notes;
use crate::cli::numbers::whole;
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, output_name};
use crate::denoise::Level;
use crate::denoise::closed_form::ClosedForm;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::graph::Compiler;
use crate::kernels::selftest;
use crate::model::describe::{adapter_json, algorithms_json, family_text, footprint_json, model_json};
use crate::model::timing::Stopwatch;
use crate::model::{Kind, Model, NetworkModel, RawCall, RawLevels};
use crate::nets::feeds::{Added, ClassLabels};
use crate::report::{Console, Report};
use crate::tensor::Tensor;

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

const EXAMPLES: &str = "\
Examples:
  downhill denoise DIR --input x.npy --timesteps 500 --output eps.npy
  downhill denoise DIR --input x.npy --timesteps t.npy --class-labels y.npy --output eps.npy
  downhill denoise DIR --input z.npy --timesteps 500 --context c.npy --output eps.npy
  downhill denoise --input x.npy --sigma 0.5 --output eps.npy
  downhill denoise ideal:K.npy --sigma 0.5 --input q.npy --output eps.npy
  downhill denoise wiener:mean=M.npy,cov=C.npy --sigma 0.5 --input q.npy --output eps.npy

With `--timesteps`, input and output are those of the network, in its own scale. With `--sigma`, the input is \
x = x0 + sigma eps and the output is eps, whatever the network predicts. `pca:DATA[,k=N]` (projection onto N principal \
components, 32 by default; of noisy samples with `noise=nested|fresh|shared` and `seed=S`, of the first M samples with \
`n=M`), `wiener:DATA` or `gaussian:DATA` (Gaussian posterior mean; `sequential:DATA` is the same in a single call), \
`mixture:DATA,k=K` (of K Gaussians), `ideal:DATA` (weighted mean of all samples) and `local:DATA,patch=P` (of \
patches) do not have timesteps. 8-bit pixels are scaled to -1 to 1, and the input may be (N,D) or have the shape of \
the samples.";

/// Call a network or a closed-form denoiser once
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, group = clap::ArgGroup::new("level").required(true).args(["timesteps", "sigma"]))]
pub struct Args {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    /// The images (N,C,H,W); `-` for standard input
    #[arg(short, long, value_name = "FILE.npy")]
    input: PathBuf,

    /// A timestep for all images (it may be a fraction), or a file with one per image
    #[arg(short, long, value_name = "T|FILE.npy")]
    timesteps: Option<String>,

    /// A noise level for all images, above 0
    #[arg(long)]
    sigma: Option<f64>,

    /// One label per image (N), or one vector per image (N,D), for networks that take them
    #[arg(long, value_name = "FILE.npy")]
    class_labels: Option<PathBuf>,

    /// Context of a `UNet2DConditionModel`: (N,tokens,dim), or (1,tokens,dim) for all images
    #[arg(long, value_name = "FILE.npy")]
    context: Option<PathBuf>,

    /// Embedding of a whole text that SDXL's network adds to its time embedding: (N,channels), or (1,channels) for all
    /// images
    #[arg(long, value_name = "FILE.npy", requires = "time_ids")]
    pooled: Option<PathBuf>,

    /// Numbers that SDXL's network embeds beside a text, (N,6), or (1,6) for all images: height and width of the
    /// original image, top and left of its crop, height and width of the target
    #[arg(long, value_name = "FILE.npy", requires = "pooled")]
    time_ids: Option<PathBuf>,

    /// Scale of guidance, for networks that take it as an input (`time_cond_proj_dim`) [default: none]
    #[arg(long, value_name = "S")]
    cfg_scale: Option<f64>,

    /// Output: float32 (N,C,H,W); `-` for standard output
    #[arg(short, long, value_name = "FILE.npy")]
    output: PathBuf,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Images per network call; the batch does not change the result [default: 16, or as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=1_000_000))]
    batch: Option<usize>,
}

/// Runs `downhill denoise`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("denoise");
    stream::check_writable(&args.output)?;
    let model = Model::open_network(args.model.as_deref())?;
    report.set("model", model_json(&model));
    let (output, place) = match model.kind() {
        Kind::ClosedForm(form) => (of_closed_form(form.clone(), args, global, console, &mut report)?, "denoiser"),
        Kind::Network(network) => (of_network(network, args, global, console, &mut report)?, "network"),
        Kind::Latent(latent) => (of_network(&latent.network, args, global, console, &mut report)?, "network"),
    };
    if !output.is_finite() {
        return Err(Error::NonFinite {
            place: format!("the output of the {place}"),
            hint: "nothing is written; the values of the input or the weights make it overflow".to_owned(),
        });
    }
    stream::write(&args.output, |file| npy::write(file, &output))?;
    report.set("outputs", json!([output_name(&args.output)]));
    console.note(&format!("wrote {}", output_name(&args.output)));
    global.write_report(&report)
}

/// The inputs that the flags name, checked without a device.
fn read_call(network: &NetworkModel, args: &Args) -> Result<RawCall> {
    let x = read_images(&args.input, network.net.in_channels())?;
    let images = x.shape[0];
    let context = args.context.as_deref().map(|file| Ok::<_, Error>((read_finite(file)?, file))).transpose()?;
    let context = network.context(context, images)?;
    let labels = args
        .class_labels
        .as_deref()
        .map(|file| stream::read(file, |file| ClassLabels::read(file, images)))
        .transpose()?;
    let levels = match (&args.timesteps, args.sigma) {
        (Some(timesteps), _) => RawLevels::Timesteps(read_timesteps(timesteps, images)?),
        (None, sigma) => RawLevels::Sigmas(vec![checked_sigma(sigma.unwrap_or_default())?; images]),
    };
    let added = match (&args.pooled, &args.time_ids) {
        (Some(pooled), Some(numbers)) => {
            Some(Added { pooled: read_rows(pooled, images)?, numbers: read_rows(numbers, images)? })
        }
        _ => None,
    };
    let call = RawCall { x, levels, context, labels, added, guidance: args.cfg_scale };
    network.net.check(call.size(1)).map_err(|error| of_file(&args.input, &error))?;
    network.check_call(&call)?;
    Ok(call)
}

/// A row of numbers for each image, or one for all.
fn read_rows(file: &Path, images: usize) -> Result<Tensor> {
    let rows = read_finite(file)?;
    match rows.shape[..] {
        [found, _] if found == images || found == 1 => Ok(rows),
        _ => Err(Error::bad_file_hint(
            file,
            format!("the array has shape {:?} for {images} images", rows.shape),
            format!("give a row for each image, [{images}, channels], or one for all, [1, channels]"),
        )),
    }
}

/// The output of a network for the input.
fn of_network(
    network: &NetworkModel,
    args: &Args,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let call = read_call(network, args)?;
    notes::say(network, console);
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    clock.lap("adapter");
    let called = network.call_raw(compiler, &call, args.batch, &mut spinning(console, clock.observer()))?;
    let (kind, levels) = match &call.levels {
        RawLevels::Timesteps(timesteps) => ("timesteps", timesteps),
        RawLevels::Sigmas(sigmas) => ("sigma", sigmas),
    };
    if let Some(context) = &call.context {
        report.set("context", json!(context.shape));
    }
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(call.x.shape))
        .set(kind, json!(levels))
        .set("algorithms", algorithms_json(&called.algorithms))
        .set("batch", called.batch)
        .set("memory", footprint_json(&called.footprint, Some(engine.gpu.memory_bytes().1)))
        .set("timings", clock.json(&[]));
    Ok(called.output)
}

/// The eps of a closed form, in the shape of the input.
fn of_closed_form(
    form: Arc<ClosedForm>,
    args: &Args,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let Some(sigma) = args.sigma else {
        let what = format!("`{}` has noise levels and does not have timesteps", form.name);
        return Err(Error::argument(what, "give `sigma` instead of `timesteps`"));
    };
    let sigma = checked_sigma(sigma)?;
    if args.batch.is_some() {
        let what = format!("`batch` has no meaning for `{}`, which does not call a network", form.name);
        return Err(Error::argument(what, "omit `batch`"));
    }
    args.dtype.expect_network(&form.name)?;
    expect_no_condition(args, &form.name)?;
    let given = read_finite(&args.input)?;
    let shape = given.shape.clone();
    let x = form.as_images(given, &args.input)?;
    clock.lap("data");
    let engine = device::open(global, console)?;
    selftest::ensure(&engine)?;
    clock.lap("adapter");
    let mut denoiser = Arc::unwrap_or_clone(form).ready(&engine)?;
    clock.lap("denoiser");
    let eps = denoiser.eps(&x, &vec![Level::at_sigma(sigma); x.shape[0]])?;
    clock.lap("call");
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(shape))
        .set("sigma", json!([sigma]))
        .set("memory", json!({ "peak_bytes": engine.gpu.memory_bytes().1 }))
        .set("timings", clock.json(&[]));
    Ok(Tensor::new(shape, eps.data))
}

/// A closed form cannot be given a context or class labels.
fn expect_no_condition(args: &Args, name: &str) -> Result<()> {
    if args.context.is_some() {
        return Err(Error::argument(format!("`{name}` does not take a context"), "omit `context`"));
    }
    if args.class_labels.is_some() {
        return Err(Error::argument(format!("`{name}` does not take class labels"), "omit `class_labels`"));
    }
    if args.pooled.is_some() {
        let what = format!("`{name}` does not take the embedding of a text");
        return Err(Error::argument(what, "omit `pooled` and `time_ids`"));
    }
    if args.cfg_scale.is_some() {
        return Err(Error::argument(format!("`{name}` does not take a scale of guidance"), "omit `cfg_scale`"));
    }
    Ok(())
}

/// The error of a size of images, as one of their file.
fn of_file(file: &Path, error: &Error) -> Error {
    Error::bad_file_hint(file, error.to_string(), error.hint().unwrap_or_default())
}

/// One number for all images, or a file with one for each.
fn read_timesteps(text: &str, images: usize) -> Result<Vec<f64>> {
    if let Ok(timestep) = text.parse::<f64>() {
        return Ok(vec![timestep; images]);
    }
    let file = Path::new(text);
    let numbers = stream::read(file, |file| npy::read_f64(file))?;
    match numbers.as_slice() {
        [one] => Ok(vec![*one; images]),
        numbers if numbers.len() == images => Ok(numbers.to_vec()),
        numbers => Err(Error::bad_file_hint(
            file,
            format!("holds {} timesteps for {images} images", numbers.len()),
            "give one timestep for each image, or one for all",
        )),
    }
}

fn checked_sigma(sigma: f64) -> Result<f64> {
    if sigma.is_finite() && sigma > 0.0 {
        return Ok(sigma);
    }
    Err(Error::argument(format!("`sigma` of {sigma} is not a noise level"), "sigma is a number above 0"))
}
