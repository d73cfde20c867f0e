//! `downhill restore`: images from linear measurements.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::args::{Dtype, Global, denoiser_help};
use crate::cli::array_or_picture::{FormatArg, is_picture};
use crate::cli::device;
use crate::cli::interrupt;
use crate::cli::numbers::{whole, whole_from};
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, output_name};
use crate::data::{Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::images::{WHITE, grid, quantise, signed, square_columns};
use crate::formats::npy;
use crate::formats::png::write_png;
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::model::describe::{adapter_json, algorithms_json, family_text, model_json};
use crate::model::timing::Stopwatch;
use crate::model::{Model, Restoring};
use crate::quality::{Extractor, frechet, moments};
use crate::report::columns::Lines;
use crate::report::{Console, Progress, Report};
use crate::restore::{
    Covariance, FORMS, Measurement, Method, Operator, OperatorSpec, Quality, USUAL_ETA, USUAL_PRODUCTS, USUAL_VARIANCE,
    quality, usual_step,
};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::{Course, Settings};
use crate::tensor::Tensor;

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

/// The most images of a run.
const MOST_IMAGES: u64 = 100_000;
/// The usual number of steps.
const USUAL_STEPS: usize = 50;

const EXAMPLES: &str = "\
Examples:
  downhill restore --operator mask:missing.png --input digit.png -o restored.png
  downhill restore DIR --operator downsample:4 --input small.png --sampler ge --steps 20
  downhill restore DIR --operator blur:2 --input y.npy --noise 0.05 --method ddrm
  downhill restore DIR --operator matrix:A.npy --input y.npy --noise 0.1 --method pigdm -n 8
  downhill restore --operator downsample:4 --data digits -n 64 --noise 0.05 --method dps --steps 200 --eta 1
  downhill restore wiener:digits --operator blur:1.5 --data digits --noise 0.1 --method pigdm --eta 1

The measurement is y = A x + noise with the operator A: the pixels that are black in a mask (white is missing), a \
Gaussian blur mirrored at the edges, means of squares of pixels, or a matrix on the values of an image, row by row, \
channel after channel. An array is (N,...) or one measurement, in the scale of the images, -1 to 1; a picture is \
brought to that scale. With `--data`, images of the data are measured under noise, and the restored images are \
compared with them.

`project` draws x0 to {A x = y} at each level, by every sampler; without noise, the result meets the measurement. \
`ddrm` takes its own steps for each singular value of A. `dps` and `pigdm` follow gradients through the denoiser, each \
of which takes as long as two to three more calls. `dps` steps along the gradient of |A x0 - y|: in N steps as far as \
the paper in 1000, over the largest singular value, and never beyond the point where y would be met to its noise. \
`pigdm` adds the score of y given x. The covariance of x0 that it needs is sigma^2 times the Jacobian, by conjugate \
gradients; with --variance V it is the paper's r^2 = sigma^2 V / (sigma^2 + V), and diverges where data vary more than \
V along what is measured.

A note names restored images that have diverged: those farther from the measurement than an image of zeros, or with \
values beyond twice the range of the network's images.

Singular values below a thousandth of the largest count as not measured.";

const MEASUREMENT: &str = "Measurement";
const SCHEDULE: &str = "Schedule";
const OUTPUT: &str = "Output";

/// The values of `--method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum MethodArg {
    /// Projections on the measurement, by any sampler
    #[default]
    Project,
    /// Spectral steps (Kawar et al., 2022)
    Ddrm,
    /// Gradients of the distance from the measurement (Chung et al., 2023)
    Dps,
    /// Guidance by pseudo-inverses (Song et al., 2023)
    Pigdm,
}

/// Restore images from masked, blurred, small or other linear measurements
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, group = clap::ArgGroup::new("source").required(true).args(["input", "data"]))]
pub struct Args {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    #[arg(long, value_name = "OPERATOR", help = format!("The operator: {FORMS}"), help_heading = MEASUREMENT)]
    operator: String,

    /// The measurements: an array, or a picture; `-` for standard input
    #[arg(short, long, value_name = "FILE", help_heading = MEASUREMENT)]
    input: Option<PathBuf>,

    /// Measure images of these data instead, and compare with them
    #[arg(long, value_name = "DATA", help_heading = MEASUREMENT)]
    data: Option<String>,

    /// The first of the images of the data
    #[arg(long, value_name = "INDEX", default_value_t = 0, requires = "data", help_heading = MEASUREMENT,
        value_parser = whole_from::<usize>(0))]
    first: usize,

    /// Standard deviation of the noise of the measurement, in the scale of the images
    #[arg(long, value_name = "S", default_value_t = 0.0, help_heading = MEASUREMENT)]
    noise: f64,

    /// The images that were measured, (N,C,H,W), to compare with
    #[arg(long, value_name = "FILE.npy", conflicts_with = "data", help_heading = MEASUREMENT)]
    reference: Option<PathBuf>,

    /// The way in which walks fit the measurement
    #[arg(long, value_enum, default_value_t)]
    method: MethodArg,

    /// Length of a step of `dps`, over the largest singular value [default: 1 for 1000 steps, 1000/N for N]
    #[arg(long, value_name = "LENGTH")]
    step_size: Option<f64>,

    /// Variance of the data, of which `project` and `pigdm` make that of x0 [default: 1 for `project`; for `pigdm` that
    /// of x0 itself, along each pull, from the Jacobian]
    #[arg(long, value_name = "V")]
    variance: Option<f64>,

    /// Products with the Jacobian per step of `pigdm`, each of conjugate gradients [default: 2]
    #[arg(long, value_name = "N", value_parser = whole_from::<usize>(1))]
    products: Option<usize>,

    /// Restorations per measurement; with `--data`, images
    #[arg(short = 'n', long, default_value_t = 1, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    count: usize,

    /// Images per network call; the batch does not change the images [default: 16, or as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    batch: Option<usize>,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    class_label: Option<String>,

    /// The sampler, except for `ddrm`; `downhill sample --sampler list` prints them [default: ddim]
    #[arg(long, value_name = "SAMPLER", help_heading = SCHEDULE)]
    sampler: Option<Sampler>,

    /// Number of steps [default: 50]
    #[arg(long, value_name = "N", help_heading = SCHEDULE,
        value_parser = whole_from::<usize>(1))]
    steps: Option<usize>,

    /// Schedule of the noise levels [default: that of the sampler and the model]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND", help_heading = SCHEDULE)]
    schedule: Option<ScheduleKind>,

    /// Weight of the newest estimate in `ge`, at least 0: below 1 averages, above 1 extrapolates [default: 2]
    #[arg(long, help_heading = SCHEDULE)]
    gamma: Option<f64>,

    /// Amount of noise in `ddim` and in `ddrm`, 0 to 1 [default: 0; 0.85 for `ddrm`]
    #[arg(long, help_heading = SCHEDULE)]
    eta: Option<f64>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", help_heading = SCHEDULE)]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", help_heading = SCHEDULE)]
    sigma_min: Option<f64>,

    /// Clip each prediction of x0 [default: follow the model's scheduler; for `pigdm`, networks of -1 to 1 are clipped]
    #[arg(long, conflicts_with = "no_clip", help_heading = SCHEDULE)]
    clip: bool,

    /// Do not clip predictions
    #[arg(long, help_heading = SCHEDULE)]
    no_clip: bool,

    /// Seed of all noise
    #[arg(short, long, default_value_t = 0, help_heading = SCHEDULE, value_parser = whole_from::<u64>(0))]
    seed: u64,

    /// Output: `.png`, a grid of several images, or `.npy` of float32 (N,C,H,W) in the scale of the model; `-` for
    /// standard output
    #[arg(short, long, value_name = "FILE", default_value = "restored.png", help_heading = OUTPUT)]
    output: PathBuf,

    /// Format of `-o -` [default: npy]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, hide_short_help = true,
        help_heading = OUTPUT)]
    format: Option<FormatArg>,

    /// Write the restored images as float32 (N,C,H,W) in the scale of the model
    #[arg(long, value_name = "FILE.npy", help_heading = OUTPUT)]
    save_samples: Option<PathBuf>,
}

impl Args {
    fn method(&self) -> Result<Method> {
        let covariance = match self.variance {
            Some(variance) => Covariance::Isotropic(variance),
            None => Covariance::Jacobian(self.products.unwrap_or(USUAL_PRODUCTS)),
        };
        let method = match self.method {
            MethodArg::Project => Method::Project { variance: self.variance.unwrap_or(USUAL_VARIANCE) },
            MethodArg::Ddrm => Method::Ddrm { eta: self.eta.unwrap_or(USUAL_ETA) },
            MethodArg::Dps => {
                Method::Dps { step: self.step_size.unwrap_or_else(|| usual_step(self.steps.unwrap_or(USUAL_STEPS))) }
            }
            MethodArg::Pigdm => Method::PiGdm { covariance },
        };
        let is_spectral = self.method == MethodArg::Ddrm;
        let given = [
            ("sampler", self.sampler.is_some() && is_spectral),
            ("gamma", self.gamma.is_some() && is_spectral),
            ("clip", self.clip && is_spectral),
            ("step_size", self.step_size.is_some() && self.method != MethodArg::Dps),
            ("variance", self.variance.is_some() && (is_spectral || self.method == MethodArg::Dps)),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, is_idle)| *is_idle) {
            let what = format!("`{field}` has no meaning for the method `{}`", method.name());
            return Err(Error::argument(what, format!("omit `{field}`, or choose another `method`")));
        }
        if self.products.is_some() && (self.method != MethodArg::Pigdm || self.variance.is_some()) {
            let what = "`--products` without `--method pigdm`, or beside `--variance`";
            return Err(Error::argument(what, "a variance replaces the Jacobian's; omit one of the flags"));
        }
        method.check()?;
        Ok(method)
    }

    /// The settings of the sampler. `pigdm` clips by default where images have a known range.
    fn settings(&self, has_range: bool) -> Settings {
        let usual_clip = (has_range && self.method == MethodArg::Pigdm).then_some(true);
        Settings {
            sampler: Some(self.sampler.unwrap_or(Sampler::Ddim)),
            schedule: self.schedule,
            steps: Some(self.steps.unwrap_or(USUAL_STEPS)),
            gamma: self.gamma,
            eta: self.eta.filter(|_| self.method != MethodArg::Ddrm),
            clip: if self.clip || self.no_clip { Some(self.clip) } else { usual_clip },
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            ..Settings::default()
        }
    }

    /// The measurements, and the images that were measured where they are known.
    fn measured(&self, operator: Operator, is_unit: bool) -> Result<(Measurement, Option<Tensor>)> {
        let [channels, height, width] = operator.image_shape();
        if let Some(file) = &self.input {
            let y = stream::read(file, |file| operator.read(file, is_unit))?;
            let reference = self.reference.as_ref().map(|file| reference(file, [channels, height, width], y.shape[0]));
            return Ok((Measurement::new(operator, &y, self.noise)?, reference.transpose()?));
        }
        let text = self.data.as_deref().unwrap_or_default();
        let data = Source::parse(text)?.load(if is_unit { Pixels::Unit } else { Pixels::Signed })?;
        let (len, last) = (channels * height * width, self.first.saturating_add(self.count));
        if data.dimension() != len || last > data.count() {
            let (found, count, first) = (data.dimension(), data.count(), self.first);
            let what = format!("images {first} to {last} of {len} values, of `{}`: {count} of {found}", data.name);
            return Err(Error::argument(what, "take data of the size of the model's images, and fewer of them"));
        }
        let images = data.samples.data[self.first * len..last * len].to_vec();
        let images = Tensor::new([self.count, channels, height, width], images);
        Ok((Measurement::of_images(operator, &images, self.noise, self.seed)?, Some(images)))
    }
}

/// The images that were measured.
fn reference(file: &Path, image: [usize; 3], count: usize) -> Result<Tensor> {
    let images = stream::read(file, |file| npy::read(file))?;
    if images.shape.len() == 4 && images.shape[0] == count && images.shape[1..] == image {
        return Ok(images);
    }
    let what = format!("the array has shape {:?} for {count} measurements of images of {image:?}", images.shape);
    Err(Error::bad_file_hint(file, what, "give one image per measurement, (images, channels, height, width)"))
}

/// Runs `downhill restore`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("restore");
    let mut clock = Stopwatch::start();
    let spec: OperatorSpec = args.operator.parse()?;
    let (method, is_array) = (args.method()?, !is_picture(&args.output, args.format)?);
    stream::check_writable(&args.output)?;
    args.save_samples.as_deref().map_or(Ok(()), stream::check_writable)?;
    let model = Model::open_or_embedded(args.model.as_deref())?;
    if model.network().is_none() {
        args.dtype.expect_network(model.name())?;
    }
    let label = args.class_label.as_deref().map(|class| model.expect_network()?.label(class)).transpose()?;
    let image = model.denoised_shape(label)?;
    let is_unit = model.network().is_some_and(|network| network.scheduler.has_unit_range());
    let has_network = model.network().is_some();
    let course = model.course(&args.settings(has_network && !is_unit))?;
    let operator = spec.operator(image)?;
    let (measurement, reference) = args.measured(operator, is_unit)?;
    let each = if args.data.is_some() { 1 } else { args.count };
    let (batch, seed) = (args.batch, args.seed);
    let restoring = Restoring { measurement, method, course, each, first: 0, batch, seed, label };
    report
        .set("model", model_json(&model))
        .set("operator", operator_json(&spec, restoring.measurement.operator()))
        .set("noise", args.noise)
        .set("method", json!({ "name": method.name(), "settings": format!("{method:?}") }))
        .set("sampler", course_json(&restoring.course, method))
        .set("seed", args.seed)
        .set("data", json!(args.data))
        .set("images", restoring.count());
    if args.input.as_deref().is_some_and(|file| !is_array_name(file)) && args.noise == 0.0 {
        console.note("note: 8 bits round the measurement by 0.0023; `--noise 0.0023` allows for it");
    }
    clock.lap("model");
    let engine = device::open(global, console)?;
    clock.lap("adapter");
    let images = restored(args, model, &restoring, &engine, (global, console), (&mut clock, &mut report));
    if let Err(Error::Cancelled) = images {
        interrupt::say_again(console, "no image is restored to its end, so nothing is written");
    }
    let images = images.map_err(|error| with_hint(error, args.method))?;
    let (range, most) = if is_unit { (1.0, 2.0) } else { (2.0, 2.0) };
    let most = has_network.then_some(most);
    let found = quality(&restoring.measurement, &images, reference.as_ref(), (range, most));
    let distance = distance(&engine, &images, reference.as_ref(), is_unit)?;
    clock.lap("quality");
    let images_of = |images: &Tensor| if is_unit { signed(images) } else { images.clone() };
    if is_array {
        stream::write(&args.output, |file| npy::write(file, &images))?;
    } else {
        let pictures = quantise(&images_of(&images))?;
        let columns = square_columns(pictures.len());
        stream::write(&args.output, |file| write_png(file, &grid(&pictures, columns, WHITE), &[]))?;
    }
    let mut outputs = vec![output_name(&args.output)];
    if let Some(file) = &args.save_samples {
        stream::write(file, |file| npy::write(file, &images))?;
        outputs.push(output_name(file));
    }
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("quality", json!(found))
        .set("frechet", json!(distance))
        .set("timings", clock.json(&[]))
        .set("outputs", json!(outputs));
    for output in &outputs {
        console.note(&format!("wrote {output}"));
    }
    if !found.diverged.is_empty() {
        console.warning(&divergence(&found, args.method));
    }
    let files = [Some(&*args.output), args.save_samples.as_deref()];
    global.print_beside(files.into_iter().flatten(), &lines(&found, distance, args.noise), console)?;
    global.write_report(&report)
}

/// The warning about images that have diverged.
fn divergence(found: &Quality, method: MethodArg) -> String {
    let (first, count) = (found.diverged[0], found.diverged.len());
    let way_out = way_out(method).unwrap_or("another `--method` or more `--steps` may not");
    let reason = found.divergence.map(|reason| format!("image {first} {reason}")).unwrap_or_default();
    let (have, of) = (if count == 1 { "has" } else { "have" }, found.images);
    format!("{count} of {of} images {have} diverged: {reason}; {way_out}")
}

/// The way out of a divergence, by method.
fn way_out(method: MethodArg) -> Option<&'static str> {
    match method {
        MethodArg::Project | MethodArg::Ddrm => None,
        MethodArg::Dps => Some("a shorter `--step-size` diverges less"),
        MethodArg::Pigdm => Some("omit `--variance`, or give a larger one; `--clip` bounds x0"),
    }
}

/// The error of a walk that has diverged, with the way out by its method.
fn with_hint(error: Error, method: MethodArg) -> Error {
    match (error, way_out(method)) {
        (Error::NonFinite { place, .. }, Some(way_out)) => Error::NonFinite { place, hint: way_out.to_owned() },
        (error, _) => error,
    }
}

/// The images on a device.
fn restored(
    args: &Args,
    model: Model,
    restoring: &Restoring,
    engine: &Engine,
    (global, console): (&Global, Console),
    (clock, report): (&mut Stopwatch, &mut Report),
) -> Result<Tensor> {
    let steps = restoring.course.schedule.steps().len();
    let bar = Progress::new("restoring", steps as u64, console.verbosity);
    let (flag, mut done) = (interrupt::listen().flag(), 0u64);
    let found = model.restore(
        Compiler::new(engine, args.dtype.on(engine, console).options(global)),
        restoring,
        &mut spinning(console, clock.observer()),
        &mut |progress| {
            done += u64::from(progress.index == 0);
            bar.advance(u64::from(done == 1));
            if flag.load(std::sync::atomic::Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
        },
    )?;
    clock.lap("restoring");
    report.set("algorithms", found.facts.algorithms.as_ref().map(algorithms_json)).set("batch", found.facts.batch);
    Ok(found.images)
}

/// The Frechet distance of restored images from those that were measured, by the classifier's features, for digits.
fn distance(engine: &Engine, images: &Tensor, reference: Option<&Tensor>, is_unit: bool) -> Result<Option<f64>> {
    let Some(reference) = reference.filter(|_| images.shape[1..] == [1, 28, 28] && images.shape[0] > 1) else {
        return Ok(None);
    };
    let extractor = Extractor::new(engine)?;
    let statistics = |images: &Tensor| {
        let images = if is_unit { signed(images) } else { images.clone() };
        let features = extractor.of(&images)?.features;
        moments::of_rows(&features.data, extractor.dimension())
    };
    frechet::distance(&statistics(images)?, &statistics(reference)?).map(Some)
}

fn lines(found: &Quality, distance: Option<f64>, noise: f64) -> String {
    let mut lines = Lines::default();
    if let Some(psnr) = &found.psnr {
        let spread = psnr.error.map(|error| format!(" +- {error:.2}")).unwrap_or_default();
        lines.add("PSNR", format!("{:.2}{spread} dB, mean of {} images", psnr.mean, found.images));
        lines.add("PSNR of the pseudo-inverse", format!("{:.2} dB", psnr.pseudo_inverse));
    }
    if let Some(distance) = distance {
        lines.add("Frechet distance", format!("{distance:.2} from the images that were measured"));
    }
    lines.add("misfit", format!("{:.3e} per measured value, noise {noise}", found.misfit));
    lines.to_string()
}

fn operator_json(spec: &OperatorSpec, operator: &Operator) -> serde_json::Value {
    json!({
        "name": spec.to_string(),
        "image": operator.image_shape(),
        "measurement": operator.measured_shape(),
        "measured_modes": operator.rank(),
        "modes": operator.singular_values().len(),
        "largest_singular_value": operator.singular_values().iter().copied().fold(0.0, f64::max),
    })
}

fn course_json(course: &Course, method: Method) -> serde_json::Value {
    let name = if matches!(method, Method::Ddrm { .. }) { method.name() } else { course.sampler.name() };
    json!({
        "name": name,
        "steps": course.schedule.steps().len(),
        "sigmas": course.schedule.levels().iter().map(|level| level.sigma).collect::<Vec<_>>(),
    })
}

fn is_array_name(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("npy"))
}
