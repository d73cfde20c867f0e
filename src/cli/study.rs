//! The common part of all studies: their data, their device, their folder and their report.
//!
//! A study of the library turns settings and data into [`Results`]. Its subcommand is a type of flags that implements
//! [`Study`], and a line in the table of `inspect` or `linear`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{Dtype, Global};
use super::memory::available_memory;
use super::{device, stream};
use crate::cli::numbers::{whole, whole_from};
use crate::data::{self, Dataset, Pixels, Source, Stream};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::{Engine, selftest};
use crate::model::describe::{adapter_json, family_text};
use crate::model::timing::Stopwatch;
use crate::report::columns::aligned;
use crate::report::{Console, Folder, Progress, Report};
use crate::study::Advance;
use crate::study::results::{File, Message, Results};

/// The flags of a study's data.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[arg(long, value_name = "DATA", default_value = "digits", help = format!("Data: {}", data::forms()))]
    pub data: String,

    /// Subtract the mean from the data; otherwise the mean is usually the first component
    #[arg(long, visible_alias = "centre", overrides_with = "no_center")]
    pub center: bool,

    /// Keep the mean in the data
    #[arg(long, visible_alias = "no-centre", overrides_with = "center")]
    pub no_center: bool,

    /// Use only the first N samples
    #[arg(long, value_name = "N", value_parser = whole::<u32>(2..=u32::MAX.into()))]
    pub samples: Option<u32>,
}

/// The defaults of a study's data.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// The most samples.
    pub samples: usize,
    /// Subtract the mean.
    pub centred: bool,
}

impl DataArgs {
    /// Returns `true` if the mean is subtracted.
    fn centred(&self, usual: Usual) -> bool {
        if usual.centred { !self.no_center } else { self.center }
    }

    /// Loads the data by the flags and the defaults of the study, and describes them in the report.
    ///
    /// # Errors
    /// Those of [`Source::parse`] and [`Source::load`]; [`Error::Argument`] for more samples than there are.
    pub fn load(&self, usual: Usual, run: &mut StudyRun) -> Result<Dataset> {
        self.load_with_mean(usual, run).map(|(data, _)| data)
    }

    /// The data as a stream: where `asked`, or where the memory of this machine does not hold them; else `None`.
    ///
    /// # Errors
    /// Those of [`Source::parse`] and [`Source::stream`]; [`Error::Argument`] for more samples than there are.
    pub fn stream(&self, usual: Usual, asked: bool, run: &mut StudyRun) -> Result<Option<Streamed>> {
        let available = available_memory().unwrap_or(u64::MAX);
        if !asked && !may_exceed(&self.data, available) {
            return Ok(None);
        }
        let stream = Source::parse(&self.data)?.stream(Pixels::Unit)?;
        let samples = self.samples_of(stream.name(), stream.count(), usual)?;
        let values = samples as u64 * stream.dimension() as u64;
        let bytes = values.saturating_mul(AT_ONCE * size_of::<f32>() as u64);
        if !asked && bytes <= available {
            return Ok(None);
        }
        let centred = self.centred(usual);
        let sample_shape = stream.sample_shape();
        run.report.set(
            "data",
            json!({
                "source": stream.name(), "samples": samples, "sample_shape": sample_shape, "centred": centred,
                "pixels": "0 to 1", "streamed": true,
            }),
        );
        run.clock.lap("data");
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let because = (!asked).then(|| {
            let (needed, available) = (gib(bytes), gib(available));
            format!("work on all of `{}` at once takes {needed:.1} GiB, and {available:.1} are free", stream.name())
        });
        Ok(Some(Streamed { stream, samples, centred, because }))
    }

    /// The number of samples that are used of `count`.
    fn samples_of(&self, name: &str, count: usize, usual: Usual) -> Result<usize> {
        match self.samples.map(|samples| samples as usize) {
            Some(samples) if samples > count => {
                let what = format!("`--samples {samples}` asks for more than the {count} samples of `{name}`");
                Err(Error::argument(what, format!("give at most {count}")))
            }
            Some(samples) => Ok(samples),
            None => Ok(usual.samples.min(count)),
        }
    }

    /// Loads the data as [`Self::load`] does, and returns the mean that was subtracted, if any.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_with_mean(&self, usual: Usual, run: &mut StudyRun) -> Result<(Dataset, Option<Vec<f64>>)> {
        let console = run.console;
        let mut data = Source::parse(&self.data)?.load(Pixels::Unit)?;
        let samples = self.samples_of(&data.name, data.count(), usual)?;
        if samples < data.count() {
            let of = data.count();
            console.detail(&format!("the first {samples} of {of} samples are used; `--samples N` uses another number"));
            data.samples = data.samples.slice(0..samples);
        }
        let mean = self.centred(usual).then(|| data.centre());
        let share = data.share_of_mean();
        if mean.is_none() && share >= NOTED {
            console.note(&format!(
                "note: the mean accounts for {:.0} % of the second moment of `{}` and is its first component; \
                 `--center` subtracts it",
                100.0 * share,
                data.name
            ));
        }
        run.report.set(
            "data",
            json!({
                "source": data.name,
                "samples": data.count(),
                "sample_shape": data.sample_shape,
                "centred": mean.is_some(),
                // Of 8-bit images; arrays keep their numbers.
                "pixels": "0 to 1",
            }),
        );
        run.clock.lap("data");
        Ok((data, mean))
    }
}

/// The share of the second moment from which the mean is worth a note.
const NOTED: f64 = 0.3;

/// The bytes of memory per byte of samples in float32 that works on all of them at once.
const AT_ONCE: u64 = 3;

/// Returns `true` for data whose samples may take more than `available` bytes: files of much less are not opened twice.
fn may_exceed(data: &str, available: u64) -> bool {
    match Path::new(data).metadata() {
        // A byte of a file may become a float32.
        Ok(file) if file.is_file() => file.len().saturating_mul(AT_ONCE * size_of::<f32>() as u64) > available,
        Ok(_) => true,
        Err(_) => data.contains([':', '*']),
    }
}

/// Data that are read in passes.
pub struct Streamed {
    /// The data.
    pub stream: Box<dyn Stream>,
    /// The number of samples that are used, from the first on.
    pub samples: usize,
    /// Subtract the mean.
    pub centred: bool,
    /// The reason, where the flags do not ask for it.
    pub because: Option<String>,
}

/// A study as a subcommand. The implementing type holds its flags.
pub trait Study {
    /// The words of the command: `inspect norms`.
    const NAME: &'static str;
    /// The files of its folder, beside the report.
    const FILES: &'static [File];

    /// The folder for the results; `None` for results that are printed only.
    fn folder(&self) -> Option<&Path>;

    /// Reads what the flags name, measures, and returns the results.
    ///
    /// # Errors
    /// Those of the flags, of reading, and of the device. Whatever can be refused without a device is refused before it
    /// is opened.
    fn measure(&self, run: &mut StudyRun) -> Result<Results>;
}

/// The subcommands of a group of studies: `Name(module): Flags` for each, whose `module::Args` implement [`Study`] and
/// which takes that set of shared flags.
macro_rules! studies {
    ($($name:ident($module:ident): $flags:ident),* $(,)?) => {
        #[derive(Debug, clap::Subcommand)]
        enum Studies {
            $($name(Box<crate::cli::shared::With<$module::Args, crate::cli::shared::$flags>>),)*
        }

        /// Runs a study of the group.
        pub fn run(
            args: &Args,
            _: &crate::cli::shared::Global,
            console: crate::report::Console,
        ) -> crate::error::Result<()> {
            match &args.study {
                $(Studies::$name(with) => {
                    let global = (&with.flags).into();
                    crate::cli::study::run(&with.args, &global, console)
                })*
            }
        }
    };
}
pub(super) use studies;

/// Runs a study: checks that its files can be written, measures, writes files and reports, prints the messages.
///
/// # Errors
/// Those of [`Study::measure`] and of writing.
pub fn run<S: Study>(study: &S, global: &Global, console: Console) -> Result<()> {
    global.check()?;
    let mut run = StudyRun::begin(S::NAME, study.folder(), S::FILES, global, console)?;
    let results = study.measure(&mut run)?;
    run.finish(results)
}

/// The long help of a study: `text`, and the files of its folder.
pub fn help(text: &str, files: &[File]) -> String {
    let row = |File { name, contents }: &File| {
        let name = if name.contains('.') { (*name).to_owned() } else { format!("{name}.svg, {name}.png") };
        [format!("  {name}"), (*contents).to_owned()]
    };
    let report = File::new("report.json", "settings, findings, adapter, timings");
    let rows: Vec<_> = files.iter().chain([&report]).map(row).collect();
    format!("{text}\n\nFiles:\n{}", aligned(&rows).trim_end())
}

/// A study that is running.
pub struct StudyRun<'a> {
    folder: Option<Folder>,
    /// The report of the run.
    pub report: Report,
    pub clock: Stopwatch,
    pub(super) global: &'a Global,
    pub console: Console,
}

impl<'a> StudyRun<'a> {
    /// Begins `command`, which will write `files` to `folder`.
    ///
    /// # Errors
    /// When one of them cannot be written.
    fn begin(
        command: &str,
        folder: Option<&Path>,
        files: &[File],
        global: &'a Global,
        console: Console,
    ) -> Result<Self> {
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        folder.map_or(Ok(()), |folder| stream::expect_folder("output", folder))?;
        let folder = folder.map(|folder| Folder::new(folder, &names)).transpose()?;
        Ok(Self { folder, report: Report::new(command), clock: Stopwatch::start(), global, console })
    }

    /// Opens the device and puts it into the report.
    ///
    /// # Errors
    /// Those of [`device::open`] and of the self-test.
    pub fn engine(&mut self) -> Result<Engine> {
        let engine = device::open(self.global, self.console)?;
        selftest::ensure(&engine)?;
        self.report.set("adapter", adapter_json(&engine.gpu.adapter)).set("family", family_text(engine.family));
        self.clock.lap("adapter");
        Ok(engine)
    }

    /// The compiler of networks in float32, with the definition of every convolution under `--exact`.
    pub fn compiler<'e>(&self, engine: &'e Engine) -> Compiler<'e> {
        Compiler::new(engine, Dtype::F32.options(self.global))
    }

    /// Runs `work` under a progress bar over `total` units, and takes its time as `lap`.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn timed<T>(
        &mut self,
        title: &str,
        total: u64,
        lap: &'static str,
        work: impl FnOnce(Advance) -> Result<T>,
    ) -> Result<T> {
        let bar = Progress::new(title, total, self.console.verbosity);
        let done = work(&|units| bar.advance(units))?;
        drop(bar);
        self.clock.lap(lap);
        Ok(done)
    }

    /// Writes the files, the folder's report and the one of `--json`, and prints the messages.
    ///
    /// # Errors
    /// When they cannot be written.
    fn finish(mut self, results: Results) -> Result<()> {
        for (section, value) in &results.sections {
            self.report.set(section, value.clone());
        }
        if let Some(folder) = &mut self.folder {
            results.write(folder)?;
        }
        self.clock.lap("results");
        self.report.set("timings", self.clock.json(&[]));
        if results.is_unfinished {
            self.report.set("unfinished", true);
        } else if let Some(folder) = &self.folder {
            // The report in the folder is that of the run that wrote the results.
            folder.report(&mut self.report)?;
        }
        self.global.write_report(&self.report)?;
        let says = |message: &Message| !matches!(message, Message::Detail(_));
        let is_silent = results.text.is_none() && !results.is_unfinished && !results.messages.iter().any(says);
        if let (true, Some(folder)) = (is_silent, &self.folder) {
            self.console.note(&format!("wrote {}", folder.summary()));
        }
        for message in results.messages {
            match message {
                Message::Note(text) => self.console.note(&text),
                Message::Detail(text) => self.console.detail(&text),
                Message::Warning(text) => self.console.warning(&text),
            }
        }
        results.text.map_or(Ok(()), |text| self.global.print(&text))
    }
}

/// The flags of a study's folder and seed.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Seed of all random draws
    #[arg(short, long, value_name = "SEED", default_value = "0", value_parser = whole_from::<u64>(0))]
    pub seed: u64,
}
