//! The subject of a study: the denoiser, the schedule of its trajectories, and the data to compare it with.

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::cli::args::{Dtype, ErrorModelArg, denoiser_help};
use crate::cli::study::StudyRun;
use crate::data::{self, Dataset, Pixels, Source};
use crate::denoise::Denoiser;
use crate::denoise::closed_form::Spec;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::denoise::jacobian::NetworkJacobian;
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::model::describe::{algorithms_json, model_json};
use crate::model::{DenoiserOptions, Kind, Model, ModelDenoiser};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::{Level, Schedule, ScheduleKind};
use crate::sample::settings::{Course, Settings};
use crate::sample::walk::Method;
use crate::study::Advance;
use crate::study::trajectories::Trajectories;

/// The most images of a study.
const MOST_IMAGES: u64 = 1_000_000;

/// The flags of a denoiser.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    /// Images per call; the batch does not change the results [default: 16, or what fits in 1 GiB]
    #[arg(short, long, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES))]
    pub batch: Option<usize>,

    /// Type of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    pub dtype: Dtype,

    /// Class of all images, by number or by name, for networks that take class labels
    #[arg(long, value_name = "CLASS")]
    pub class_label: Option<String>,
}

impl SubjectArgs {
    fn label(&self, model: &Model) -> Result<Option<f64>> {
        let Some(class) = &self.class_label else { return Ok(None) };
        model.expect_network()?.label(class).map(Some)
    }
}

/// The flags of trajectories.
#[derive(Debug, clap::Args)]
pub struct WalkArgs {
    /// Trajectories
    #[arg(short = 'n', long, default_value_t = 32, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES))]
    pub count: usize,

    /// Gradient descent, or gradient estimation
    #[arg(long, value_enum, default_value_t)]
    pub sampler: Descent,

    /// Steps of a trajectory
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,

    /// Spacing of the noise levels [default: `ddim`, for closed forms `exponential`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    pub schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    pub sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    pub sigma_min: Option<f64>,

    /// `ETA,NU` or a file of `downhill inspect error-model`, for the schedule `admissible`
    #[arg(long, value_name = "ETA,NU|FILE")]
    pub error_model: Option<ErrorModelArg>,
}

/// The samplers that the theory is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Descent {
    /// DDIM: gradient descent on the distance
    #[default]
    Ddim,
    /// Gradient estimation, gamma 2
    Ge,
}

/// A denoiser that is not on a device yet.
pub struct Subject {
    /// The name of the model.
    pub name: String,
    /// The model, for reports.
    pub json: Value,
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
    /// The mean of its data, around which states start.
    pub mean: Option<Vec<f64>>,
    model: Model,
    /// The class label of all images.
    label: Option<f64>,
    batch: Option<usize>,
    dtype: Dtype,
}

/// The schedule and the sampler of trajectories.
pub struct Way {
    pub schedule: Schedule,
    pub method: Method,
}

impl Subject {
    /// Opens the model of `args`, or else `usual`; without either, the embedded network of digits.
    ///
    /// # Errors
    /// Those of [`Model::open`]; [`Error::BadFile`] for a network that is not a denoiser of
    /// images.
    pub fn open(args: &SubjectArgs, usual: Option<&str>) -> Result<Self> {
        let model = Model::open_or_embedded(args.model.as_deref().or(usual))?;
        if model.network().is_none() {
            args.dtype.expect_network(model.name())?;
        }
        let label = args.label(&model)?;
        let image = model.denoised_shape(label)?;
        let mean = match model.kind() {
            Kind::ClosedForm(form) => Some(form.mean().to_vec()),
            Kind::Network(_) | Kind::Latent(_) => None,
        };
        let (name, json) = (model.name().to_owned(), model_json(&model));
        Ok(Self { name, json, image, mean, model, label, batch: args.batch, dtype: args.dtype })
    }

    /// The way that `args` describe, of `steps` steps by default.
    ///
    /// # Errors
    /// Those of [`Settings::resolve`] and [`Settings::on_sigmas`].
    pub fn way(&self, args: &WalkArgs, steps: usize) -> Result<Way> {
        let error_model = args.error_model.as_ref().map(ErrorModelArg::read).transpose()?;
        let settings = Settings {
            sampler: Some(match args.sampler {
                Descent::Ddim => Sampler::Ddim,
                Descent::Ge => Sampler::Ge,
            }),
            schedule: args.schedule,
            steps: args.steps.or(error_model.is_none().then_some(steps)),
            sigma_max: args.sigma_max,
            sigma_min: args.sigma_min,
            clip: Some(false),
            error_model,
            ..Settings::default()
        };
        let usual = (self.model.network().is_some() && error_model.is_none()).then_some(ScheduleKind::Ddim);
        let settings = Settings { schedule: args.schedule.or(usual), ..settings };
        let Course { schedule, method, .. } = self.model.course(&settings)?;
        Ok(Way { schedule, method })
    }

    /// The least and the most noise of the range in which it is called or sampled.
    pub fn sigma_range(&self) -> (f64, f64) {
        self.model.sigma_range()
    }

    /// `count` levels over its range, evenly spaced in log sigma; those of a network are distinct timesteps.
    pub fn levels(&self, count: usize) -> Vec<Level> {
        self.model.levels(count)
    }

    /// The data that `text` names; without a text, those of an ideal denoiser, if this is one.
    ///
    /// # Errors
    /// Those of [`Source::load`]; [`Error::Argument`] for data of another size than the images.
    pub fn data(&self, text: Option<&str>) -> Result<Option<Dataset>> {
        let source = match text {
            Some(text) => Source::parse(text)?,
            None => match Spec::parse(&self.name)? {
                Some(Spec::Ideal { data, .. }) => data,
                _ => return Ok(None),
            },
        };
        let data = source.load(Pixels::Signed)?;
        if data.dimension() == self.image.iter().product::<usize>() {
            return Ok(Some(data));
        }
        let what = format!(
            "samples of `{}` have {} values, and the images of `{}` {}",
            data.name,
            data.dimension(),
            self.name,
            self.image.iter().product::<usize>()
        );
        Err(Error::argument(what, "take data of the size that the model was made for"))
    }

    /// As [`Self::data`], or `digits` where they fit.
    ///
    /// # Errors
    /// Those of [`Self::data`]; [`Error::Argument`] without data.
    pub fn expect_data(&self, text: Option<&str>) -> Result<Dataset> {
        let usual = (self.image == [1, 28, 28]).then_some("digits");
        if let Some(data) = self
            .data(text)?
            .map_or_else(|| usual.map_or(Ok(None), |usual| self.data(Some(usual))), |data| Ok(Some(data)))?
        {
            return Ok(data);
        }
        let what = format!("no data to compare `{}` with", self.name);
        Err(Error::argument(what, format!("give `--data DATA`: {}", data::forms())))
    }

    /// The denoiser on a device, and images per call, for `images` of them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn ready<'e>(
        self,
        engine: &'e Engine,
        run: &mut StudyRun,
        images: usize,
    ) -> Result<(Box<dyn Denoiser + 'e>, usize)> {
        run.report.set("model", self.json);
        let compiler = Compiler::new(engine, self.dtype.options(run.global));
        let options = DenoiserOptions { batch: self.batch, images, label: self.label };
        let ModelDenoiser { denoiser, facts } = self.model.denoiser(compiler, &options, &mut run.clock.observer())?;
        if let Some(algorithms) = &facts.algorithms {
            run.report.set("algorithms", algorithms_json(algorithms));
        }
        Ok((denoiser, facts.batch))
    }

    /// Half the step of central differences of the denoiser at a noise level; `None` for a network, whose
    /// [`Self::jacobian`] is exact.
    pub fn difference_step(&self) -> Option<impl Fn(f64) -> f64 + use<>> {
        match self.model.kind() {
            Kind::Network(_) | Kind::Latent(_) => None,
            Kind::ClosedForm(form) => Some(form.difference_step()),
        }
    }

    /// The exact Jacobian of a network, for `block` vectors per call.
    ///
    /// # Errors
    /// Those of [`Model::jacobian`].
    pub fn jacobian<'e>(self, engine: &'e Engine, run: &StudyRun, block: usize) -> Result<NetworkJacobian<'e>> {
        let compiler = Compiler::new(engine, self.dtype.options(run.global));
        self.model.jacobian(compiler, self.label, block)
    }
}

impl Way {
    /// `count` trajectories from `seed`.
    pub fn trajectories<'a>(
        &'a self,
        count: usize,
        batch: usize,
        seed: u64,
        mean: Option<&'a [f64]>,
    ) -> Trajectories<'a> {
        Trajectories { schedule: &self.schedule, method: &self.method, count, batch, seed, mean }
    }

    /// The trajectories for a report.
    pub fn json(&self, args: &WalkArgs) -> Value {
        let levels = self.schedule.levels();
        json!({
            "count": args.count,
            "sampler": args.sampler.to_possible_value().map(|value| value.get_name().to_owned()),
            "steps": self.schedule.steps().len(),
            "sigmas": levels.iter().map(|level| level.sigma).collect::<Vec<_>>(),
            "timesteps": levels.iter().map(|level| level.timestep).collect::<Vec<_>>(),
        })
    }
}

/// A study along trajectories, before the device is opened.
pub struct Walk<'a> {
    pub subject: Subject,
    /// The data to project on exactly, if any.
    pub data: Option<Dataset>,
    pub args: &'a WalkArgs,
    /// The default number of steps.
    pub steps: usize,
    pub seed: u64,
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
        self.samples.ok_or_else(|| Error::argument("no data to project on", "give `--data DATA`"))
    }
}

/// The work of a measurement that calls the denoiser once per step and image.
pub fn calls(walk: &Trajectories) -> u64 {
    walk.calls()
}

impl Walk<'_> {
    /// Opens the device and runs `measure` on the trajectories; `work` is the number of units that it advances by.
    ///
    /// # Errors
    /// Those of [`Subject::way`], of the device and of `measure`.
    pub fn run<T>(
        self,
        run: &mut StudyRun,
        title: &str,
        work: impl FnOnce(&Trajectories) -> u64,
        measure: impl FnOnce(Ground) -> Result<T>,
    ) -> Result<T> {
        let Self { subject, data, args, steps, seed } = self;
        let way = subject.way(args, steps)?;
        let mean = subject.mean.clone();
        let engine = run.engine()?;
        run.report
            .set("trajectories", way.json(args))
            .set("seed", seed)
            .set("data", json!(data.as_ref().map(|data| &data.name)));
        let samples = data.map(|data| {
            let mean = data.mean();
            Neighbours::new(&engine, data, mean)
        });
        let samples = samples.transpose()?;
        let (mut denoiser, batch) = subject.ready(&engine, run, args.count)?;
        let walk = way.trajectories(args.count, batch, seed, mean.as_deref());
        run.timed(title, work(&walk), "trajectories", |advance| {
            measure(Ground { denoiser: denoiser.as_mut(), walk: &walk, samples: samples.as_ref(), advance })
        })
    }
}
