//! What all studies have in common: the folder they fill, the device they open, the report they leave.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{Dtype, Global};
use super::device::{self, adapter_json, family_text};
use super::timing::Stopwatch;
use crate::data::{Dataset, Pixels, Source, Spiked};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::{Engine, selftest};
use crate::report::{Console, Folder, Progress, Report};

/// The flags that say which data a study looks at.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// `digits`, an `.npy` of shape (N,...), an IDX file (gzip or not), a folder of images, or data generated from a few
    /// directions in noise: `spiked:n=1500,p=300,spikes=5/4/3/2/1,noise=0,seed=0`
    #[arg(long, value_name = "DATA", default_value = "digits")]
    pub data: String,

    /// Take the mean off the data first; left in, it is the first component of most data
    #[arg(long, visible_alias = "centre", overrides_with = "no_center")]
    pub center: bool,

    /// Leave the mean in the data
    #[arg(long, visible_alias = "no-centre", overrides_with = "center")]
    pub no_center: bool,

    /// Take only the first N samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub samples: Option<u32>,
}

/// What a study does with its data when nothing is said.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// Samples at most.
    pub samples: usize,
    /// Whether the mean is taken off.
    pub centred: bool,
}

impl DataArgs {
    /// Whether the mean is taken off.
    pub fn centred(&self, usual: Usual) -> bool {
        if usual.centred { !self.no_center } else { self.center }
    }

    /// Reads the data: samples and mean as asked, or else as usual.
    ///
    /// # Errors
    /// Those of [`Source::load`] and of [`Spiked::parse`]; a usage error when fewer samples are there than are asked for.
    pub fn load(&self, usual: Usual, console: Console) -> Result<Dataset> {
        let generated = self.data == "spiked" || self.data.starts_with("spiked:");
        let mut data = if generated && !Path::new(&self.data).exists() {
            Dataset { name: self.data.clone(), ..Spiked::parse(&self.data)?.generate()? }
        } else {
            Source::parse(&self.data)?.load(Pixels::Unit)?
        };
        let samples = match self.samples.map(|samples| samples as usize) {
            Some(samples) if samples > data.count() => {
                let what =
                    format!("`--samples {samples}` asks for more than the {} samples of `{}`", data.count(), data.name);
                return Err(Error::argument(what, format!("give at most {}", data.count())));
            }
            Some(samples) => samples,
            None => usual.samples.min(data.count()),
        };
        if samples < data.count() {
            let of = data.count();
            console.detail(&format!("the first {samples} of {of} samples are used; `--samples N` takes others"));
            data.samples = data.samples.slice(0..samples);
        }
        if self.centred(usual) {
            data.centre();
        } else if let share @ MEAN_SAID.. = share_of_mean(&data) {
            console.note(&format!(
                "note: the mean has {:.0} % of the second moment of `{}`, and is its first component; `--center` takes it off",
                100.0 * share,
                data.name
            ));
        }
        Ok(data)
    }

    /// The data in words, for a report.
    pub fn json(&self, data: &Dataset, usual: Usual) -> serde_json::Value {
        json!({
            "source": data.name,
            "samples": data.count(),
            "sample_shape": data.sample_shape,
            "centred": self.centred(usual),
        })
    }
}

/// Share of the second moment from which the mean is spoken of.
const MEAN_SAID: f64 = 0.3;

/// |mean|^2 over the mean of |x|^2.
fn share_of_mean(data: &Dataset) -> f64 {
    let mean: f64 = data.mean().iter().map(|value| value * value).sum();
    let squares = data.samples.data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    mean / (squares / data.count() as f64).max(f64::MIN_POSITIVE)
}

/// A study that runs: begun, given a device, given its results, finished.
pub struct StudyRun<'a> {
    /// Where the results go.
    pub folder: Folder,
    /// What is told about the run.
    pub report: Report,
    pub clock: Stopwatch,
    pub(super) global: &'a Global,
    console: Console,
}

impl<'a> StudyRun<'a> {
    /// Begins `command`, which will write `files` (see [`Folder::new`]) to `output`.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn begin(command: &str, output: &Path, files: &[&str], global: &'a Global, console: Console) -> Result<Self> {
        let folder = Folder::new(output, files)?;
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

    /// A bar over `total` units of work.
    pub fn progress(&self, title: &str, total: u64) -> Progress {
        Progress::new(title, total, self.global.verbosity())
    }

    /// Writes the reports, the folder's and the one of `--json`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.clock.lap("results");
        self.report.set("timings", self.clock.json(&[]));
        self.folder.report(&mut self.report)?;
        match &self.global.json {
            Some(file) => self.report.write(file),
            None => Ok(()),
        }
    }
}

/// The flags that say where a study's results go, and how its randomness begins.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Seed of everything that is drawn
    #[arg(short, long, value_name = "SEED", default_value = "0")]
    pub seed: u64,
}
