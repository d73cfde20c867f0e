//! From the flags to a run: everything that can be refused without a device is refused here.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::ValueEnum;

use super::args::Args;
use super::conditions;
use super::start::Start;
use super::targets;
use crate::cli::args::{Dtype, FamilyFlag, Global, Size};
use crate::cli::flags::Flags;
use crate::cli::shard::{Shard, ShardArg};
use crate::cli::stream;
use crate::data::Source;
use crate::denoise::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::model::{Kind, Metadata, Model, ModelRun, NetworkModel, Sampling, Targets};
use crate::report::output::Pattern;
use crate::report::{Console, Output};
use crate::sample::solvers::analytic::{Analytic, Variances};

pub const USUAL_OUTPUT: &str = "samples.png";

/// A run, ready for a device.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Job<'a> {
    /// True for a network, false for a closed form.
    pub has_network: bool,
    pub run: ModelRun<'a>,
    pub shard: Option<Shard>,
    /// The precision of the network's weights.
    pub dtype: Dtype,
    /// The metadata that all images share.
    pub metadata: Metadata,
    pub targets: Targets,
    /// Skip images that exist already.
    pub resume: bool,
    pub trace_nonfinite: bool,
    pub timings: bool,
}

impl Job<'_> {
    /// Reads the flags, and opens the model and the start files.
    ///
    /// # Errors
    /// Every fault that can be found without a device.
    pub fn new(args: &Args, global: &Global, console: Console) -> Result<Self> {
        targets::check_resume(args, &output(args)?)?;
        let model = Self::open(args)?;
        Self::of_model(args, model, global, console, &mut BTreeSet::new())
    }

    /// Opens the model of the flags, with what is added to it.
    ///
    /// # Errors
    /// Those of [`Model::open`] and [`crate::cli::changes::ChangeArgs::apply`].
    pub fn open(args: &Args) -> Result<Model> {
        let model = match args.prediction {
            None => Model::open_or_embedded(args.model.as_deref())?,
            Some(prediction) => Model::open_predicting(args.model.as_deref(), prediction.into())?,
        };
        args.changes.apply(model)
    }

    /// As [`Job::new`], for a model that is open. Notes that were `said` are not repeated.
    ///
    /// # Errors
    /// As [`Job::new`].
    pub fn of_model(
        args: &Args,
        model: Model,
        global: &Global,
        console: Console,
        said: &mut BTreeSet<String>,
    ) -> Result<Self> {
        let output = output(args)?;
        let has_network = model.network().is_some();
        if !has_network {
            args.dtype.expect_network(model.name())?;
        }
        let labels = args.conditions.labels(&model)?;
        let mut start = Start::read(args, &model)?;
        let (trained, has_pixels) = match model.kind() {
            Kind::Network(network) => (network.net.sample_size(), true),
            Kind::Latent(latent) => (latent.trained_size(), true),
            Kind::ClosedForm(form) => (Some((form.image_shape()[1], form.image_shape()[2])), form.has_pixels()),
        };
        let mut sampling = start.begin(Sampling::new(model).settings(args.settings()?));
        let asked = conditions::size(args.size, args.height, args.width, trained.map(Size::from));
        if let Some(Size { height, width }) = asked {
            sampling = sampling.size(height, width);
        }
        if let Some(data) = &args.analytic_data {
            sampling = sampling.analytic_data(Source::parse(data)?);
        }
        let sampling = args.conditions.describe(args.describe(sampling), labels)?;
        let mut run = args.inpainting.describe(sampling, start.mask.take())?.resolve()?;
        let names = Flags::of(&<Args as clap::Args>::augment_args(clap::Command::new("sample")));
        for note in run.notes.iter().filter(|note| said.insert((*note).clone())) {
            console.note(&format!("note: {}", names.note(note)));
        }
        if let Some(detail) = run.model.network().and_then(NetworkModel::passed_over) {
            console.detail(&detail);
        }
        say_where_it_ends(&run, console);
        if let Some(file) = &args.variances {
            if run.classifier.is_some() {
                let what = "`--variances` are those of a denoiser alone, and `--classifier` guides it";
                return Err(Error::argument(what, "omit one of them"));
            }
            let analytic = Analytic {
                eta: run.settings.eta.unwrap_or(0.0),
                variances: Arc::new(stream::read(file, Variances::read)?),
            };
            run.run.method = analytic.apply(run.run.method.clone(), run.sampler)?;
        }
        check_drawn(args, &start, &run, console)?;
        if let Some(metric) = &args.metric {
            let values = run.state.iter().product();
            run.run.method = metric.apply(run.run.method.clone(), run.sampler, &run.settings, values)?;
        }
        let targets = targets::targets(args, output, &run, has_pixels)?;
        let (shard, note) = args.shard.map(ShardArg::resolve).transpose()?.unzip();
        note.flatten().iter().for_each(|note| console.note(note));
        let Shard { index, of } = shard.unwrap_or(Shard::WHOLE);
        run.run.images = (index..run.run.count).step_by(of).collect();
        if run.run.images.is_empty() && !targets.is_one_file_per_image() {
            let what = format!("`--shard {index}/{of}` of {} images is empty", run.run.count);
            return Err(Error::argument(what, "use fewer shards, or more images with `--count`"));
        }
        let mut ways = arithmetic(args.dtype, global, has_network);
        ways.extend(
            args.prediction.map(|prediction| ("prediction", PredictionType::from(prediction).name().to_owned())),
        );
        let metadata = run.metadata(&start.to_string(), &ways);
        Ok(Self {
            has_network,
            run,
            shard,
            dtype: args.dtype,
            metadata,
            targets,
            resume: args.resume,
            trace_nonfinite: args.trace_nonfinite,
            timings: args.timings,
        })
    }

    /// Computes and records with another type.
    pub fn take_dtype(&mut self, dtype: Dtype) {
        self.dtype = dtype;
        if let Some(name) = name_of(dtype) {
            self.metadata = self.metadata.replaced("dtype", name);
        }
    }

    /// The pattern of the files, where each image has its own.
    pub fn pattern(&self) -> Option<&Pattern> {
        match &self.targets.images {
            Some(Output::Files(pattern)) => Some(pattern),
            Some(Output::Grid(_) | Output::Npz(_)) | None => None,
        }
    }
}

/// The target of the images.
fn output(args: &Args) -> Result<Output> {
    targets::output(args.output.as_deref().unwrap_or(USUAL_OUTPUT), args.format)
}

/// The type as flags name it.
pub fn name_of(dtype: Dtype) -> Option<String> {
    dtype.to_possible_value().map(|value| value.get_name().to_owned())
}

/// Keyword and text of every way in which a network is computed otherwise than usual.
fn arithmetic(dtype: Dtype, global: &Global, has_network: bool) -> Vec<(&'static str, String)> {
    let ways = [
        name_of(dtype).filter(|_| dtype != Dtype::F32).map(|name| ("dtype", name)),
        global.exact.then(|| ("convolutions", "by their definition".to_owned())),
        (global.family == Some(FamilyFlag::Matrix)).then(|| ("products", "float16 on matrix units".to_owned())),
    ];
    ways.into_iter().flatten().filter(|_| has_network).collect()
}

/// Notes the range of a schedule that an error model admits, which may end with much noise left, or take many steps.
fn say_where_it_ends(run: &ModelRun, console: Console) {
    if run.settings.error_model.is_some() {
        let schedule = &run.run.schedule;
        let (steps, start, end) = (schedule.steps().len(), schedule.start(), schedule.end());
        console.note(&format!("admissible: {steps} steps from {start} to {end}"));
    }
}

/// Refuses `--rng` and warns of `--seed` in a run without random noise.
fn check_drawn(args: &Args, start: &Start, run: &ModelRun, console: Console) -> Result<()> {
    // What is known is kept under noise.
    if run.run.method.solver.is_stochastic() || !start.is_given() || run.masking.is_some() {
        return Ok(());
    }
    if args.rng.is_some() {
        return Err(Error::argument(
            "`--rng` has no meaning here: the start is given, and the sampler adds no noise",
            "omit `--rng`",
        ));
    }
    if args.seed.is_some() {
        console.warning("`--seed` changes nothing here: the start is given, and the sampler adds no noise");
    }
    Ok(())
}
