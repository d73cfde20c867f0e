//! `downhill denoise`: one raw call of a network, or of a closed-form denoiser.

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::checkpoint::ModelFiles;
use crate::cli::args::{Dtype, Global, Size};
use crate::cli::device::{self, adapter_json, family_text};
use crate::cli::model::{Opened, footprint_json, open_files, read_images};
use crate::cli::timing::Stopwatch;
use crate::denoise::closed_form::ClosedForm;
use crate::denoise::{Condition, Denoiser, Guidance, Level, Network, NetworkDenoiser};
use crate::error::{Error, Result};
use crate::formats::{check_writable, npy};
use crate::graph::{Compiler, Footprint};
use crate::kernels::selftest;
use crate::nets::architecture::ContextInput;
use crate::nets::{ClassLabels, Inputs, LabelInput};
use crate::report::{Console, Report};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill denoise DIR --input x.npy --timesteps 500 --output eps.npy
  downhill denoise DIR --input x.npy --timesteps t.npy --class-labels y.npy --output eps.npy
  downhill denoise DIR --input z.npy --timesteps 500 --context c.npy --output eps.npy
  downhill denoise --input x.npy --sigma 0.5 --output eps.npy
  downhill denoise ideal:K.npy --sigma 0.5 --input q.npy --output eps.npy
  downhill denoise wiener:mean=M.npy,cov=C.npy --sigma 0.5 --input q.npy --output eps.npy

With `--timesteps` the input is in the network's own scale, and the output is what it answers.
With `--sigma` the input is x = x0 + sigma eps, and the output is eps, whatever it predicts.
`pca:DATA[,k=N]` (projection on N components, 32; of noisy samples with `noise=nested|fresh|shared`,
`seed=S`, of the first M with `n=M`), `wiener:DATA` (Gaussian posterior mean; alone, so is
`sequential:DATA`) and `ideal:DATA` (mean of all samples by their weights) know no timesteps; bytes of images count as
-1 to 1, and the input may be (N,D) or of the samples' shape.";

/// Call a network or a closed-form denoiser once
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, group = clap::ArgGroup::new("level").required(true).args(["timesteps", "sigma"]))]
pub struct Args {
    /// A diffusers folder, a `.safetensors` beside its `config.json`, a hub id in the local cache, or `pca:DATA[,k=N]`,
    /// `wiener:DATA`, `sequential:DATA`, `ideal:DATA`; nothing: digits
    pub model: Option<String>,

    /// The images (N,C,H,W)
    #[arg(short, long, value_name = "FILE.npy")]
    input: PathBuf,

    /// A timestep for all images, whole or not, or a file of one for each
    #[arg(short, long, value_name = "T|FILE.npy", allow_negative_numbers = true)]
    timesteps: Option<String>,

    /// A noise level for all images, above 0
    #[arg(long, allow_negative_numbers = true, conflicts_with = "class_labels")]
    sigma: Option<f64>,

    /// A label for each image (N), or a vector for each (N,D), where the network takes them
    #[arg(long, value_name = "FILE.npy")]
    class_labels: Option<PathBuf>,

    /// What a `UNet2DConditionModel` looks at: (N,tokens,dim), or (1,tokens,dim) for all images
    #[arg(long, value_name = "FILE.npy")]
    context: Option<PathBuf>,

    /// Where the answer goes: float32 (N,C,H,W)
    #[arg(short, long, value_name = "FILE.npy")]
    output: PathBuf,

    /// How the network's weights are stored; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Images at a network call; any batch gives the same answer [default: 16, or what fits in 1 GiB]
    #[arg(short, long, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    batch: Option<usize>,
}

/// What is asked of the network.
enum Question {
    /// Its raw answer at a timestep for each image.
    Raw { timesteps: Vec<f64>, labels: Option<ClassLabels> },
    /// eps at a noise level for each image.
    Eps { sigma: Vec<f64> },
}

/// A call, ready for a device.
struct Job {
    opened: Opened,
    x: Tensor,
    /// For a network that takes a context, if the user gave one.
    context: Option<Tensor>,
    size: Size,
    question: Question,
    batch: Option<usize>,
    dtype: Dtype,
    output: PathBuf,
}

/// Runs `downhill denoise`.
pub fn run(args: Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("denoise");
    check_writable(&args.output)?;
    if let Some(form) = args.model.as_deref().map_or(Ok(None), ClosedForm::open)? {
        let answer = compute_closed_form(form, &args, global, console, &mut report)?;
        return finish(&answer, &args.output, "the denoiser's answer", global, console, &report);
    }
    let model = open_files(args.model.as_deref())?;
    let (job, model) = understand(args, model)?;
    let answer = compute(&job, model, global, console, &mut report)?;
    finish(&answer, &job.output, "the network's answer", global, console, &report)
}

/// Writes the answer and the report.
fn finish(
    answer: &Tensor,
    output: &Path,
    place: &str,
    global: &Global,
    console: Console,
    report: &Report,
) -> Result<()> {
    if !answer.is_finite() {
        return Err(Error::NonFinite {
            place: place.to_owned(),
            hint: "nothing is written; the values of the input or the weights make it overflow".to_owned(),
        });
    }
    npy::write(output, answer)?;
    console.note(&format!("wrote {}", output.display()));
    global.json.as_ref().map_or(Ok(()), |file| report.write(file))
}

/// Everything that can be refused without a device is refused here.
fn understand(args: Args, model: ModelFiles) -> Result<(Job, ModelFiles)> {
    let (mut opened, model) = Opened::of(model)?;
    let x = read_images(&args.input, opened.net.in_channels())?;
    let images = x.shape[0];
    let context = read_context(&args, images, &opened)?;
    opened.tokens = context.as_ref().map_or(0, |context| context.shape[1]);
    let size = opened.size(Some(Size { height: x.shape[2], width: x.shape[3] }))?;
    let question = match (&args.timesteps, args.sigma) {
        (Some(timesteps), _) => {
            let labels = args.class_labels.as_deref().map(|file| read_labels(file, images)).transpose()?;
            let timesteps = read_timesteps(timesteps, images)?;
            if opened.net.labels() != LabelInput::None {
                expect_labels(labels.as_ref(), &opened.name)?;
            }
            // The host's part of a call finds everything that does not fit the network.
            let contexts = context.as_ref().map(|context| spread(context, images));
            let inputs = Inputs::new(&x, &timesteps).with_context(contexts.as_ref()).with_labels(labels.as_ref());
            opened.net.feeds(&inputs, &|key, shape| model.weights.fetch(key, shape))?;
            Question::Raw { timesteps, labels }
        }
        (None, sigma) => {
            opened.expect_denoiser()?;
            opened.expect_no_labels()?;
            Question::Eps { sigma: vec![checked_sigma(sigma.unwrap_or_default())?; images] }
        }
    };
    Ok((Job { opened, x, context, size, question, batch: args.batch, dtype: args.dtype, output: args.output }, model))
}

/// Refuses a context for a model that does not take one.
fn expect_no_context(args: &Args, name: &str) -> Result<()> {
    match args.context {
        None => Ok(()),
        Some(_) => Err(Error::argument(format!("`{name}` does not take a context"), "leave out `--context`")),
    }
}

/// A network that needs class labels cannot be called without.
fn expect_labels(labels: Option<&ClassLabels>, name: &str) -> Result<()> {
    if labels.is_some() {
        return Ok(());
    }
    let what = format!("`{name}` needs a class label for each image");
    Err(Error::argument(what, "give `--class-labels FILE.npy`"))
}

fn compute(job: &Job, model: ModelFiles, global: &Global, console: Console, report: &mut Report) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, job.dtype.options(global));
    clock.lap("adapter");
    let Opened { scheduler, table, .. } = &job.opened;
    let batch = job.opened.batch(job.batch, job.x.shape[0], job.size, compiler)?;
    let plan = job.opened.plan(batch, job.size, compiler)?;
    let footprint = Footprint::of(&plan);
    device::make_ready(&engine, &plan, &mut clock)?;
    let size = job.opened.call_size(batch, job.size);
    let network = Network::new(compiler, job.opened.net.clone(), model.weights, size)?;
    clock.lap("upload");
    let answer = match &job.question {
        Question::Raw { timesteps, labels } => {
            let inputs = Inputs::new(&job.x, timesteps).with_context(job.context.as_ref());
            network.call(&inputs.with_labels(labels.as_ref()))?
        }
        Question::Eps { sigma } => {
            let guidance = Guidance::none(Condition { context: job.context.clone(), labels: None });
            NetworkDenoiser::new(network, table.clone(), scheduler.prediction_type, guidance)?
                .eps(&job.x, &Level::each(sigma))?
        }
    };
    clock.lap("call");
    let (kind, levels) = match &job.question {
        Question::Raw { timesteps, .. } => ("timesteps", timesteps),
        Question::Eps { sigma } => ("sigma", sigma),
    };
    report
        .set("model", job.opened.json.clone())
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(job.x.shape))
        .set("context", json!(job.context.as_ref().map(|context| &context.shape)))
        .set(kind, json!(levels))
        .set("algorithms", job.opened.algorithms(&plan, job.size, compiler)?.json())
        .set("batch", batch)
        .set("memory", footprint_json(&footprint, Some(engine.gpu.memory_bytes().1)))
        .set("timings", clock.json(&[]))
        .set("outputs", json!([job.output.display().to_string()]));
    Ok(answer)
}

/// The answer of a closed form, in the shape of the input.
fn compute_closed_form(
    form: ClosedForm,
    args: &Args,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let Some(sigma) = args.sigma else {
        let what = format!("`{}` knows noise levels and no timesteps", form.name);
        return Err(Error::argument(what, "give `--sigma` in place of `--timesteps`"));
    };
    let sigma = checked_sigma(sigma)?;
    if args.batch.is_some() {
        let what = format!("`--batch` has no meaning for `{}`, which calls no network", form.name);
        return Err(Error::argument(what, "leave out `--batch`"));
    }
    args.dtype.expect_network(&form.name)?;
    expect_no_context(args, &form.name)?;
    let given = npy::read(&args.input)?;
    let shape = given.shape.clone();
    let x = form.as_images(given, &args.input)?;
    if !x.is_finite() {
        let hint = "every value must be a finite number".to_owned();
        return Err(Error::NonFinite { place: args.input.display().to_string(), hint });
    }
    clock.lap("data");
    let engine = device::open(global, console)?;
    selftest::ensure(&engine)?;
    clock.lap("adapter");
    let model = form.json();
    let mut denoiser = form.ready(&engine)?;
    clock.lap("denoiser");
    let eps = denoiser.eps(&x, &vec![Level::at_sigma(sigma); x.shape[0]])?;
    clock.lap("call");
    report
        .set("model", model)
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(shape))
        .set("sigma", json!([sigma]))
        .set("memory", json!({ "peak_bytes": engine.gpu.memory_bytes().1 }))
        .set("timings", clock.json(&[]))
        .set("outputs", json!([args.output.display().to_string()]));
    Ok(Tensor::new(shape, eps.data))
}

/// One number for all images, or a file with one for each.
fn read_timesteps(text: &str, images: usize) -> Result<Vec<f64>> {
    if let Ok(timestep) = text.parse::<f64>() {
        return Ok(vec![timestep; images]);
    }
    let file = Path::new(text);
    let numbers = npy::read_f64(file)?;
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

fn read_labels(file: &Path, images: usize) -> Result<ClassLabels> {
    let rows = npy::read(file)?;
    match rows.shape.as_slice() {
        [found] if *found == images => Ok(ClassLabels::Numbers(npy::read_f64(file)?)),
        [found, _] if *found == images => Ok(ClassLabels::Rows(rows)),
        shape => Err(Error::bad_file_hint(
            file,
            format!("the array has shape {shape:?} for {images} images"),
            format!("give one label for each image: [{images}], or a vector for each: [{images}, D]"),
        )),
    }
}

fn checked_sigma(sigma: f64) -> Result<f64> {
    if sigma.is_finite() && sigma > 0.0 {
        return Ok(sigma);
    }
    Err(Error::argument(format!("`--sigma` of {sigma} is not a noise level"), "sigma is a number above 0"))
}

/// Finite contexts (N, tokens, channels) or (1, tokens, channels) for `images` images; none where the network does not
/// read them.
fn read_context(args: &Args, images: usize, opened: &Opened) -> Result<Option<Tensor>> {
    let Some(ContextInput { channels, is_read }) = opened.net.context() else {
        expect_no_context(args, &opened.name)?;
        return Ok(None);
    };
    let Some(file) = &args.context else {
        if !is_read {
            return Ok(None);
        }
        return Err(Error::argument(
            format!("`{}` needs a context", opened.name),
            format!("give `--context FILE.npy`: (N,tokens,{channels}), or (1,tokens,{channels}) for all images"),
        ));
    };
    let context = npy::read(file)?;
    match context.shape[..] {
        [n, tokens, found] if (n == 1 || n == images) && tokens > 0 && found == channels => {}
        _ => {
            return Err(Error::bad_file_hint(
                file,
                format!("the array has shape {:?}, expected [{images}, tokens, {channels}]", context.shape),
                format!("give a context for each image, or one for all: [1, tokens, {channels}]"),
            ));
        }
    }
    if !context.is_finite() {
        let hint = "every value must be a finite number".to_owned();
        return Err(Error::NonFinite { place: file.display().to_string(), hint });
    }
    Ok(Some(context))
}

/// A context for each image.
fn spread(context: &Tensor, images: usize) -> Tensor {
    let mut shape = context.shape.clone();
    let times = images / shape[0];
    shape[0] = images;
    Tensor::new(shape, context.data.repeat(times))
}
