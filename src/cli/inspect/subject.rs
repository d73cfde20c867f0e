//! What a study looks into: the denoiser, the schedule its trajectories follow, the data it is held against.

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::checkpoint::ModelFiles;
use crate::cli::args::{Dtype, ErrorModelArg, Size};
use crate::cli::device;
use crate::cli::model::Opened;
use crate::cli::study::StudyRun;
use crate::data::{Dataset, Pixels, Source};
use crate::denoise::Denoiser;
use crate::denoise::closed_form::{ClosedForm, Spec};
use crate::denoise::jacobian::{JacobianSettings, NetworkJacobian};
use crate::denoise::{Condition, Guidance, Network, NetworkDenoiser};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::{Level, Schedule, ScheduleKind};
use crate::sample::settings::{Course, Settings};
use crate::sample::walk::Method;
use crate::spectral::samples::MOST_VECTORS;
use crate::study::trajectories::Trajectories;

/// More images than any study takes.
const MOST_IMAGES: u64 = 1_000_000;

/// The flags that say what denoises.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    /// A diffusers folder, a `.safetensors` beside its `config.json`, a hub id in the local cache, or `pca:DATA[,k=N]`,
    /// `wiener:DATA`, `ideal:DATA`
    pub model: Option<String>,

    /// Images at a call; any batch gives the same answers [default: 16, or what fits in 1 GiB]
    #[arg(short, long, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES))]
    pub batch: Option<usize>,

    /// How the network's weights are stored; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    pub dtype: Dtype,
}

/// The flags that say which way trajectories go.
#[derive(Debug, clap::Args)]
pub struct WalkArgs {
    /// Trajectories
    #[arg(short = 'n', long, default_value_t = 32, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_IMAGES))]
    pub count: usize,

    /// Gradient descent, or gradient estimation
    #[arg(long, value_enum, default_value_t)]
    pub sampler: Descent,

    /// Steps of a trajectory
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,

    /// Where the noise levels lie [default: `ddim`, for closed forms `exponential`]
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
    /// What the user calls it.
    pub name: String,
    /// For reports.
    pub json: Value,
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
    /// The mean of its data, which states start around.
    pub mean: Option<Vec<f64>>,
    what: What,
    batch: Option<usize>,
    dtype: Dtype,
}

enum What {
    Network { opened: Box<Opened>, model: ModelFiles, size: Size },
    ClosedForm(ClosedForm),
}

/// Which way trajectories go.
pub struct Way {
    pub schedule: Schedule,
    pub method: Method,
}

impl Subject {
    /// Opens what `args` name, or else `usual`, as `downhill sample` does; no model at all is the network of digits.
    ///
    /// # Errors
    /// Those of [`ClosedForm::open`] and [`Opened::open`]; of a network that is no unconditional denoiser.
    pub fn open(args: &SubjectArgs, usual: Option<&str>) -> Result<Self> {
        let text = args.model.as_deref().or(usual);
        if let Some(form) = text.map_or(Ok(None), ClosedForm::open)? {
            args.dtype.expect_network(&form.name)?;
            return Ok(Self {
                name: form.name.clone(),
                json: form.json(),
                image: form.image_shape(),
                mean: Some(form.mean().to_vec()),
                what: What::ClosedForm(form),
                batch: args.batch,
                dtype: args.dtype,
            });
        }
        let (opened, model) = Opened::open(text)?;
        opened.expect_denoiser()?;
        opened.expect_unconditional()?;
        let size = opened.size(None)?;
        Ok(Self {
            name: opened.name.clone(),
            json: opened.json.clone(),
            image: [opened.net.in_channels(), size.height, size.width],
            mean: None,
            what: What::Network { opened: Box::new(opened), model, size },
            batch: args.batch,
            dtype: args.dtype,
        })
    }

    /// The way that `args` describe, of `steps` steps where they do not say.
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
        let Course { schedule, method, .. } = match &self.what {
            What::ClosedForm(form) => settings.on_sigmas(form.sigma_range())?,
            What::Network { opened, .. } => {
                let usual = error_model.is_none().then_some(ScheduleKind::Ddim);
                let settings = Settings { schedule: args.schedule.or(usual), ..settings };
                settings.resolve(&opened.scheduler, &opened.table)?
            }
        };
        Ok(Way { schedule, method })
    }

    /// The least and the most noise that it can be asked about, or is sampled between.
    pub fn sigma_range(&self) -> (f64, f64) {
        match &self.what {
            What::Network { opened, .. } => (opened.table.sigma_min(), opened.table.sigma_max()),
            What::ClosedForm(form) => {
                let (most, least) = form.sigma_range();
                (least, most)
            }
        }
    }

    /// `count` levels over its range, even in log sigma; those of a network are timesteps, each once.
    pub fn levels(&self, count: usize) -> Vec<Level> {
        let (least, most) = self.sigma_range();
        let place = |at: usize| most * (least / most).powf(at as f64 / (count.max(2) - 1) as f64);
        let sigmas = (0..count).map(place);
        match &self.what {
            What::ClosedForm(_) => sigmas.map(|sigma| Level { sigma, timestep: None }).collect(),
            What::Network { opened, .. } => {
                let mut timesteps: Vec<usize> = sigmas.map(|sigma| opened.table.snap(sigma)).collect();
                timesteps.dedup();
                let level = |t: f64| Level { sigma: opened.table.sigma(t), timestep: Some(t) };
                timesteps.into_iter().map(|t| level(t as f64)).collect()
            }
        }
    }

    /// The data that `text` names; where it names none those of an ideal denoiser, if this is one.
    ///
    /// # Errors
    /// Those of [`Source::load`]; a usage error for data of another size than the images.
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

    /// As [`Self::data`], where there must be some.
    ///
    /// # Errors
    /// A usage error where there are none.
    pub fn expect_data(&self, text: Option<&str>) -> Result<Dataset> {
        let usual = (self.image == [1, 28, 28]).then_some("digits");
        if let Some(data) = self
            .data(text)?
            .map_or_else(|| usual.map_or(Ok(None), |usual| self.data(Some(usual))), |data| Ok(Some(data)))?
        {
            return Ok(data);
        }
        let what = format!("nobody says which data `{}` is to be held against", self.name);
        Err(Error::argument(what, "give `--data DATA`: an `.npy` (N,...), an IDX file or a folder of images"))
    }

    /// The denoiser on a device, and images at a call, for `images` of them.
    ///
    /// # Errors
    /// What the device reports.
    pub fn ready<'e>(
        self,
        engine: &'e Engine,
        run: &mut StudyRun,
        images: usize,
    ) -> Result<(Box<dyn Denoiser + 'e>, usize)> {
        run.report.set("model", self.json);
        let (denoiser, batch): (Box<dyn Denoiser + 'e>, usize) = match self.what {
            What::ClosedForm(form) => (form.ready(engine)?, self.batch.unwrap_or(MOST_VECTORS).min(images)),
            What::Network { opened, model, size } => {
                let compiler = Compiler::new(engine, self.dtype.options(run.global));
                let batch = opened.batch(self.batch, images, size, compiler)?;
                let plan = opened.plan(batch, size, compiler)?;
                run.report.set("algorithms", opened.algorithms(&plan, size, compiler)?.json());
                device::make_ready(engine, &plan, &mut run.clock)?;
                let size = opened.call_size(batch, size);
                let Opened { net, scheduler, table, .. } = *opened;
                let network = Network::new(compiler, net, model.weights, size)?;
                let guidance = Guidance::default();
                (Box::new(NetworkDenoiser::new(network, table, scheduler.prediction_type, guidance)?), batch)
            }
        };
        run.clock.lap("denoiser");
        Ok((denoiser, batch))
    }

    /// How far to move an image for differences of the denoiser, at a noise level; none for a network, whose [`Self::jacobian`] is
    /// exact.
    pub fn difference_step(&self) -> Option<impl Fn(f64) -> f64 + use<>> {
        match &self.what {
            What::Network { .. } => None,
            What::ClosedForm(form) => Some(form.difference_step()),
        }
    }

    /// The exact Jacobian of a network, for `block` vectors at a call.
    ///
    /// # Errors
    /// A usage error for a closed form; what the device reports.
    pub fn jacobian<'e>(self, engine: &'e Engine, run: &StudyRun, block: usize) -> Result<NetworkJacobian<'e>> {
        let What::Network { opened, model, size } = self.what else {
            let what = format!("`{}` is no network", self.name);
            return Err(Error::argument(what, "closed forms are differentiated by differences"));
        };
        let Opened { net, scheduler, table, .. } = *opened;
        let settings = JacobianSettings {
            table,
            prediction: scheduler.prediction_type,
            condition: Condition::default(),
            size: (size.height, size.width),
            block,
        };
        let compiler = Compiler::new(engine, self.dtype.options(run.global));
        NetworkJacobian::new(compiler, net, model.weights, settings)
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

    /// For reports.
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
