//! The flags of a denoiser and of its trajectories, and studies along trajectories.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use crate::cli::args::{Dtype, ErrorModelArg, denoiser_help};
use crate::cli::numbers::{whole, whole_from};
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::spinning::spinning;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::data::Dataset;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::model::describe::algorithms_json;
use crate::model::{Model, ModelDenoiser};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;
use crate::study::Advance;
use crate::study::parts::Rows;
use crate::study::subject::{Subject, Trails};
use crate::study::trajectories::Trajectories;
use crate::tensor::Tensor;

/// The most images of a study.
const MOST_IMAGES: u64 = 1_000_000;

/// The flags of a denoiser.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    /// Images per call; the batch does not change the results [default: 16, or as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    pub batch: Option<usize>,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    pub dtype: Dtype,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    pub class_label: Option<String>,
}

impl SubjectArgs {
    /// Opens the model, or else `usual`; without either, the embedded network of digits.
    ///
    /// # Errors
    /// Those of [`Model::open`] and [`Subject::new`].
    pub fn open(&self, usual: Option<&str>) -> Result<Subject> {
        let model = Model::open_or_embedded(self.model.as_deref().or(usual))?;
        if model.network().is_none() {
            self.dtype.expect_network(model.name())?;
        }
        Subject::new(model, self.class_label.as_deref())
    }

    /// The subject as settings of parts.
    pub fn settings(&self, subject: &Subject) -> Value {
        json!({ "model": subject.json(), "dtype": format!("{:?}", self.dtype), "class_label": self.class_label })
    }

    /// The compiler of the network on a device.
    pub fn compiler<'e>(&self, engine: &'e Engine, run: &StudyRun) -> Compiler<'e> {
        Compiler::new(engine, self.dtype.on(engine, run.console).options(run.global))
    }

    /// The denoiser on a device, and images per call, for `images` of them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn ready<'e>(
        &self,
        subject: Subject,
        engine: &'e Engine,
        run: &mut StudyRun,
        images: usize,
    ) -> Result<(Box<dyn Denoiser + 'e>, usize)> {
        run.report.set("model", subject.json());
        let compiler = self.compiler(engine, run);
        let ModelDenoiser { denoiser, facts } =
            subject.ready(compiler, self.batch, images, &mut spinning(run.console, run.clock.observer()))?;
        if let Some(algorithms) = &facts.algorithms {
            run.report.set("algorithms", algorithms_json(algorithms));
        }
        Ok((denoiser, facts.batch))
    }
}

/// The data whose images are noised: those that `noised` names, else the `data` of the closed forms if `named` gives
/// them, else the usual ones of the subject.
///
/// # Errors
/// Those of [`Subject::expect_data`].
pub fn noised(subject: &Subject, data: &Dataset, named: Option<&str>, noised: Option<&str>) -> Result<Dataset> {
    if noised.is_none() && named.is_some() {
        return Ok(data.clone());
    }
    subject.expect_data(noised)
}

/// The images (count, c, h, w) of `data`, evenly spaced in them. `field` is what asks for their number.
///
/// # Errors
/// [`Error::Argument`] for more images than there are.
pub fn images(subject: &Subject, data: &Dataset, field: &str, count: usize) -> Result<Tensor> {
    if count > data.count() {
        let what = format!("`--{field} {count}`, and `{}` holds {} images", data.name, data.count());
        return Err(Error::argument(what, "use fewer images"));
    }
    let [channels, height, width] = subject.image;
    Ok(Tensor::new([count, channels, height, width], data.evenly(count).samples.data))
}

/// The flags of trajectories.
#[derive(Debug, clap::Args)]
pub struct WalkArgs {
    /// Number of trajectories
    #[arg(short = 'n', long, default_value_t = 128, value_parser = whole::<usize>(1..=MOST_IMAGES))]
    pub count: usize,

    /// Gradient descent, or gradient estimation
    #[arg(long, value_parser = descent(), default_value = "ddim")]
    pub sampler: Sampler,

    /// Steps per trajectory
    #[arg(long, value_name = "N", value_parser = whole_from::<usize>(1))]
    pub steps: Option<usize>,

    /// Spacing of the noise levels [default: `ddim`, for closed forms `exponential`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    pub schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA")]
    pub sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA")]
    pub sigma_min: Option<f64>,

    /// `ETA,NU` or a file written by `downhill inspect error-model`, for the schedule `admissible`
    #[arg(long, value_name = "ETA,NU|FILE")]
    pub error_model: Option<ErrorModelArg>,
}

/// Reads the name of one of the samplers that the theory is about.
fn descent() -> impl TypedValueParser<Value = Sampler> {
    let samplers = [("ddim", "DDIM: gradient descent on the distance"), ("ge", "Gradient estimation, gamma 2")];
    let names = samplers.map(|(name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Sampler>())
}

impl WalkArgs {
    /// The trajectories of `subject`, of `steps` steps by default.
    ///
    /// # Errors
    /// Those of [`ErrorModelArg::read`] and [`Subject::trails`].
    pub fn trails(&self, subject: &Subject, steps: usize) -> Result<Trails> {
        let settings = Settings {
            sampler: Some(self.sampler),
            schedule: self.schedule,
            steps: self.steps,
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            error_model: self.error_model.as_ref().map(ErrorModelArg::read).transpose()?,
            ..Settings::default()
        };
        subject.trails(settings, self.count, steps)
    }
}

/// A study along trajectories, before the device is opened.
pub struct Walk<'a> {
    pub subject: Subject,
    pub denoiser: &'a SubjectArgs,
    /// The data to project on exactly, if any.
    pub data: Option<Dataset>,
    pub args: &'a WalkArgs,
    /// The default number of steps.
    pub steps: usize,
    pub out: &'a OutputArgs,
    pub shard: &'a ShardArgs,
    /// Further settings that the measurement follows from.
    pub settings: Value,
}

/// The measurements along all trajectories.
pub struct Walked {
    /// A row per trajectory.
    pub rows: Rows,
    /// The levels of the calls.
    pub levels: Vec<Level>,
}

/// Everything that a measurement along trajectories needs.
pub struct Ground<'a> {
    pub denoiser: &'a mut dyn Denoiser,
    pub walk: &'a Trajectories<'a>,
    /// The exact projection on the data, if there are any.
    pub samples: Option<&'a Neighbours<'a>>,
    pub advance: Advance<'a>,
}

impl<'a> Ground<'a> {
    /// The exact projection on the data.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are none.
    pub fn samples(&self) -> Result<&'a Neighbours<'a>> {
        self.samples.ok_or_else(|| Error::argument("there are no data to project on", "give `--data DATA`"))
    }
}

/// The work of a measurement that calls the denoiser once per step and image.
pub fn calls(walk: &Trajectories) -> u64 {
    walk.calls()
}

impl Walk<'_> {
    /// Opens the device and runs `measure` on the trajectories of this run; `work` is the number of units that it
    /// advances by. `None` while other runs that share the study have trajectories to measure.
    ///
    /// # Errors
    /// Those of [`WalkArgs::trails`], of the device, of [`Parts`](crate::study::parts::Parts) and of `measure`.
    pub fn run(
        self,
        run: &mut StudyRun,
        title: &str,
        work: impl FnOnce(&Trajectories) -> u64,
        measure: impl FnOnce(Ground) -> Result<Rows>,
    ) -> Result<Option<Walked>> {
        let Self { subject, denoiser, data, args, steps, out, shard, settings } = self;
        let trails = args.trails(&subject, steps)?;
        let engine = run.engine()?;
        run.report
            .set("model", subject.json())
            .set("trajectories", trails.json())
            .set("seed", out.seed)
            .set("data", json!(data.as_ref().map(|data| &data.name)));
        let mut parts = run.parts(shard, out, Some(&engine), || {
            json!({
                "subject": denoiser.settings(&subject), "trajectories": trails.json(), "measurement": settings,
                "data": data.as_ref().map(data_settings),
            })
        })?;
        parts.measure("trajectories", args.count, |shard| {
            let samples = data.map(|data| {
                let mean = data.mean();
                Neighbours::new(&engine, data, mean)
            });
            let samples = samples.transpose()?;
            let (mut denoiser, batch) = denoiser.ready(subject, &engine, run, shard.len(args.count))?;
            let walk = Trajectories { shard, ..trails.from_seed(out.seed, batch) };
            run.timed(title, work(&walk), "trajectories", |advance| {
                measure(Ground { denoiser: denoiser.as_mut(), walk: &walk, samples: samples.as_ref(), advance })
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(None) };
        let levels = trails.schedule.steps().iter().map(|step| step.from).collect();
        Ok(Some(Walked { rows: found.rows("trajectories")?.clone(), levels }))
    }
}
