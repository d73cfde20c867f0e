//! What was typed, understood: everything that can be refused without a device is refused here.

use serde_json::Value;

use super::args::Args;
use super::start::Start;
use super::targets::{self, Targets};
use super::text::{self, Prompt};
use crate::checkpoint::ModelFiles;
use crate::cli::args::{Dtype, FamilyFlag, Global, Shard, Size};
use crate::cli::model::Opened;
use crate::cli::pipeline::{Files, TextToImage};
use crate::denoise::closed_form::ClosedForm;
use crate::error::{Error, Result};
use crate::noise::Generator;
use crate::report::output::Pattern;
use crate::report::{Console, Output};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::{Schedule, ScheduleKind};
use crate::sample::settings::{Course, Settings};
use crate::sample::walk::Method;

/// Images where nobody says how many.
const USUAL_COUNT: usize = 16;
const USUAL_TEXT_COUNT: usize = 1;
const USUAL_OUTPUT: &str = "samples.png";

/// What denoises, as far as it is known without a device.
pub enum Subject {
    /// A network: the model, but for its files.
    Network(Box<Opened>),
    /// A pipeline from text to images, but for its files.
    Text {
        opened: Box<TextToImage>,
        /// What it is asked.
        prompt: Prompt,
        /// The tokens of the negative prompt, and of the prompt.
        tokens: [Vec<u32>; 2],
    },
    /// A closed form, but for its data.
    ClosedForm {
        /// What the user calls it.
        name: String,
        /// For reports.
        json: Value,
        /// (channels, height, width) of an image.
        image: [usize; 3],
        /// The mean of the data, which states start around.
        mean: Vec<f64>,
    },
}

/// What goes to a device.
pub enum Load {
    /// The files of a network.
    Network(ModelFiles),
    /// The files of a pipeline.
    Text(Box<Files>),
    /// The data of a closed form.
    ClosedForm(ClosedForm),
}

/// A run, ready for a device.
pub struct Job {
    /// What denoises.
    pub subject: Subject,
    /// What was asked of the sampler, and what it comes to.
    pub settings: Settings,
    pub sampler: Sampler,
    /// The kind of schedule; none for listed levels.
    pub kind: Option<ScheduleKind>,
    pub schedule: Schedule,
    pub method: Method,
    pub size: Size,
    /// Images of the whole run, over all shards.
    pub count: usize,
    /// Which of them are to be made, rising.
    pub images: Vec<usize>,
    pub shard: Option<Shard>,
    pub batch: Option<usize>,
    /// How the network's weights are stored.
    pub dtype: Dtype,
    /// How a network is computed where that is not the usual way: keyword and text.
    pub arithmetic: Vec<(&'static str, &'static str)>,
    pub seed: u64,
    pub generator: Generator,
    pub start: Start,
    pub targets: Targets,
    /// Images that are there already are passed over.
    pub resume: bool,
    pub trace_nonfinite: bool,
    pub timings: bool,
}

impl Job {
    /// Understands `args`, opening the model and the start file; answers what goes to the device too.
    ///
    /// # Errors
    /// Everything that can be wrong with them: [`Error::Argument`], and errors of files.
    pub fn new(args: Args, global: &Global, console: Console) -> Result<(Self, Load)> {
        let output = Output::parse(args.output.as_deref().unwrap_or(USUAL_OUTPUT))?;
        targets::check_resume(&args, &output)?;
        let (job, load) = match args.model.as_deref().map_or(Ok(None), ClosedForm::open)? {
            Some(form) => Self::of_closed_form(args, form, output, console)?,
            None => match args.model.as_deref().map_or(Ok(None), TextToImage::open)? {
                Some((opened, files)) => Self::of_text(args, opened, files, output, console)?,
                None => Self::of_network(args, output, console)?,
            },
        };
        let exact = global.exact.then_some(("convolutions", "by their definition"));
        let matrix = (global.family == Some(FamilyFlag::Matrix)).then_some(("products", "float16 on matrix units"));
        let of_network = exact.into_iter().chain(matrix).filter(|_| !matches!(job.subject, Subject::ClosedForm { .. }));
        Ok((Self { arithmetic: of_network.collect(), ..job }, load))
    }

    fn of_network(args: Args, output: Output, console: Console) -> Result<(Self, Load)> {
        let settings = args.settings()?;
        let (opened, model) = Opened::open(args.model.as_deref())?;
        if model.scheduler.is_none() {
            console.note("note: no `scheduler_config.json` beside the model: sampling with diffusers' defaults");
        }
        args.text.expect_none(&opened.name)?;
        opened.expect_denoiser()?;
        opened.expect_unconditional()?;
        let course = settings.resolve(&opened.scheduler, &opened.table)?;
        tell(&course, console);
        let start = Start::read(&args, opened.net.in_channels())?;
        let trained = opened.net.sample_size().map(|(height, width)| Size { height, width });
        let size = start.size().or(text::size(args.size, args.height, args.width, trained));
        say_where_it_ends(&settings, &course.schedule, console);
        let mut plan = Plan::new(settings, course, start);
        let targets = plan.targets(&args, output, opened.net.in_channels(), true, console)?;
        let size = opened.size(size)?;
        plan.measure_by(&args, [opened.net.in_channels(), size.height, size.width])?;
        let subject = Subject::Network(Box::new(opened));
        Ok((plan.job(args, subject, size, targets, USUAL_COUNT)?, Load::Network(model)))
    }

    fn of_text(
        args: Args,
        opened: TextToImage,
        files: Files,
        output: Output,
        console: Console,
    ) -> Result<(Self, Load)> {
        let prompt = args.text.understand(&opened.name)?;
        let tokens = opened.tokens(&prompt, console)?;
        let settings = args.settings()?;
        let course = settings.resolve(&opened.scheduler, &opened.table)?;
        tell(&course, console);
        let start = Start::read(&args, opened.channels())?;
        let (factor, trained) = (opened.factor(), opened.trained());
        let asked = text::size(args.size, args.height, args.width, trained);
        let given = start.size().map(|latent| Size { height: latent.height * factor, width: latent.width * factor });
        let pictured = match &start {
            Start::Image(_, picture, _) => {
                let (height, width) = picture.size();
                let whole = |side: usize| (side / factor).max(1) * factor;
                Some(Size { height: whole(height), width: whole(width) })
            }
            _ => None,
        };
        let size = given.or(asked).or(pictured).or(trained).ok_or_else(|| {
            let what = format!("`{}` does not say how large its images are", opened.name);
            Error::argument(what, "give `--width` and `--height`")
        })?;
        opened.expect_size(size)?;
        say_where_it_ends(&settings, &course.schedule, console);
        let mut plan = Plan::new(settings, course, start);
        plan.measure_by(&args, opened.latent_shape(size))?;
        let targets = plan.targets(&args, output, opened.image_channels(), true, console)?;
        let subject = Subject::Text { opened: Box::new(opened), prompt, tokens };
        Ok((plan.job(args, subject, size, targets, USUAL_TEXT_COUNT)?, Load::Text(Box::new(files))))
    }

    fn of_closed_form(args: Args, form: ClosedForm, output: Output, console: Console) -> Result<(Self, Load)> {
        if args.trace_nonfinite {
            let what = format!("`--trace-nonfinite` looks into a network, and `{}` has none", form.name);
            return Err(Error::argument(what, "leave out `--trace-nonfinite`"));
        }
        args.dtype.expect_network(&form.name)?;
        args.text.expect_none(&form.name)?;
        if args.init_image.is_some() {
            let what = format!("`--init-image` has no meaning for `{}`", form.name);
            return Err(Error::argument(what, "give the states by `--init FILE.npy`"));
        }
        let settings = args.settings()?;
        let course = settings.on_sigmas(form.sigma_range())?;
        say_where_it_ends(&settings, &course.schedule, console);
        let image = form.image_shape();
        let [channels, height, width] = image;
        let start = Start::read(&args, channels)?;
        let size = Size { height, width };
        if let Some(other) =
            start.size().or(text::size(args.size, args.height, args.width, Some(size))).filter(|other| *other != size)
        {
            let what = format!(
                "images of {}x{}, and those of `{}` are {height}x{width}",
                other.height, other.width, form.name
            );
            return Err(Error::argument(what, "images have the size of the data"));
        }
        let mut plan = Plan::new(settings, course, start);
        plan.measure_by(&args, image)?;
        let targets = plan.targets(&args, output, channels, form.has_pixels(), console)?;
        let (name, json, mean) = (form.name.clone(), form.json(), form.mean().to_vec());
        let subject = Subject::ClosedForm { name, json, image, mean };
        Ok((plan.job(args, subject, size, targets, USUAL_COUNT)?, Load::ClosedForm(form)))
    }

    /// What the user calls the model.
    pub fn name(&self) -> &str {
        match &self.subject {
            Subject::Network(opened) => &opened.name,
            Subject::Text { opened, .. } => &opened.name,
            Subject::ClosedForm { name, .. } => name,
        }
    }

    /// (channels, height, width) of a state: an image, or its latents.
    pub fn state_shape(&self) -> [usize; 3] {
        match &self.subject {
            Subject::Network(opened) => [opened.net.in_channels(), self.size.height, self.size.width],
            Subject::Text { opened, .. } => opened.latent_shape(self.size),
            Subject::ClosedForm { image, .. } => *image,
        }
    }

    /// The files of single images, where there are such.
    pub fn pattern(&self) -> Option<&Pattern> {
        match &self.targets.images {
            Some(Output::Files(pattern)) => Some(pattern),
            _ => None,
        }
    }
}

/// What a job is made of, whatever denoises.
struct Plan {
    settings: Settings,
    sampler: Sampler,
    kind: Option<ScheduleKind>,
    schedule: Schedule,
    method: Method,
    start: Start,
}

impl Plan {
    fn new(settings: Settings, course: Course, start: Start) -> Self {
        let Course { sampler, kind, schedule, method, .. } = course;
        Self { settings, sampler, kind, schedule, method, start }
    }

    /// Takes the metric that was asked for, for images of (channels, height, width).
    fn measure_by(&mut self, args: &Args, image: [usize; 3]) -> Result<()> {
        if let Some(metric) = &args.metric {
            self.method = metric.apply(self.method.clone(), self.sampler, &self.settings, image.iter().product())?;
        }
        Ok(())
    }

    fn targets(
        &self,
        args: &Args,
        output: Output,
        channels: usize,
        has_pixels: bool,
        console: Console,
    ) -> Result<Targets> {
        check_drawn(args, &self.start, &self.method, console)?;
        Targets::new(args, output, channels, has_pixels)
    }

    fn job(self, args: Args, subject: Subject, size: Size, targets: Targets, usual: usize) -> Result<Job> {
        let Self { settings, sampler, kind, schedule, method, start } = self;
        let count = start.count(args.count, usual)?;
        let Shard { index, of } = args.shard.unwrap_or(Shard { index: 0, of: 1 });
        let images: Vec<usize> = (index..count).step_by(of).collect();
        if images.is_empty() && !targets.is_one_file_an_image() {
            let what = format!("`--shard {index}/{of}` of {count} images holds none");
            return Err(Error::argument(what, "take fewer shards, or more images with `--count`"));
        }
        Ok(Job {
            subject,
            settings,
            sampler,
            kind,
            schedule,
            method,
            size,
            count,
            images,
            shard: args.shard,
            batch: args.batch,
            dtype: args.dtype,
            arithmetic: Vec::new(),
            seed: args.seed.unwrap_or(0),
            generator: args.rng.unwrap_or_default(),
            start,
            targets,
            resume: args.resume,
            trace_nonfinite: args.trace_nonfinite,
            timings: args.timings,
        })
    }
}

/// Prints where the course differs from what the model's files ask for.
fn tell(course: &Course, console: Console) {
    for note in &course.notes {
        console.note(&format!("note: {note}"));
    }
}

/// A schedule that an error model admits may end with much noise left, or take many steps.
fn say_where_it_ends(settings: &Settings, schedule: &Schedule, console: Console) {
    if settings.error_model.is_some() {
        let (steps, start, end) = (schedule.steps().len(), schedule.start(), schedule.end());
        console.note(&format!("admissible: {steps} steps from {start} to {end}"));
    }
}

/// A generator that draws nothing is a contradiction; a seed that does is worth a word.
fn check_drawn(args: &Args, start: &Start, method: &Method, console: Console) -> Result<()> {
    if method.solver.is_stochastic() || start.given().is_none() {
        return Ok(());
    }
    if args.rng.is_some() {
        return Err(Error::argument(
            "`--rng` has no meaning here: the start is given, and the sampler adds no noise",
            "leave out `--rng`",
        ));
    }
    if args.seed.is_some() {
        console.warning("`--seed` changes nothing here: the start is given, and the sampler adds no noise");
    }
    Ok(())
}
