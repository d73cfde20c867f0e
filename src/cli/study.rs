//! What all studies have in common: the folder they fill, the device they open, the report they leave.

#![allow(dead_code, reason = "studies use it as they come")]

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Global;
use super::device::{self, adapter_json, family_text};
use super::timing::Stopwatch;
use crate::data::{Dataset, Pixels, Source};
use crate::error::{Error, Result};
use crate::kernels::{Engine, selftest};
use crate::report::{Console, Folder, Progress, Report};

/// The flags that say which data a study looks at.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// `digits`, an `.npy` of shape (N,...), an IDX file (gzip or not) or a folder of images
    #[arg(long, value_name = "DATA", default_value = "digits")]
    pub data: String,

    /// Take the mean off the data first; without it the mean is usually the first component
    #[arg(long, visible_alias = "centre")]
    pub center: bool,

    /// Take only the first N samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub samples: Option<u32>,
}

impl DataArgs {
    /// Reads the data.
    ///
    /// # Errors
    /// Those of [`Source::load`]; a usage error when fewer samples are there than `--samples` asks for.
    pub fn load(&self) -> Result<Dataset> {
        let mut data = Source::parse(&self.data)?.load(Pixels::Unit)?;
        if let Some(samples) = self.samples.map(|samples| samples as usize) {
            if samples > data.count() {
                let what =
                    format!("`--samples {samples}` asks for more than the {} samples of `{}`", data.count(), data.name);
                return Err(Error::usage(what, format!("give at most {}", data.count())));
            }
            data.samples = data.samples.slice(0..samples);
        }
        if self.center {
            data.centre();
        }
        Ok(data)
    }

    /// The data in words, for a report.
    pub fn json(&self, data: &Dataset) -> serde_json::Value {
        json!({
            "source": data.name,
            "samples": data.count(),
            "sample_shape": data.sample_shape,
            "centred": self.center,
        })
    }
}

/// A study that runs: begun, given a device, given its results, finished.
pub struct StudyRun<'a> {
    /// Where the results go.
    pub folder: Folder,
    /// What is told about the run.
    pub report: Report,
    pub clock: Stopwatch,
    global: &'a Global,
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
