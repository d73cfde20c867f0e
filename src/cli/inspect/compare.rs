//! `downhill inspect compare`: samplers at equal network calls.

use std::path::Path;

use super::cells::{self, CellArgs};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::error::{Error, Result};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::study::compare::report::{FILES, Images, ablation, cells, lines, results};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect compare -o quality
  downhill inspect compare --samplers ge,ddim --steps 5,10,20 -n 2048 --seeds 3 -o quality
  downhill inspect compare --samplers all --steps 5,10,20,50 -n 10000 --seeds 3 -o quality

The last one is the full size: 15 hours and more on a software adapter. A run that is interrupted resumes where it \
stopped, and a larger one starts with the samples of a smaller one, which are kept in DIR/samples.

--steps counts network calls, which no sampler exceeds: Heun's method has half as many steps. GE uses the paper's \
schedule, DDIM the paper's baseline, PNDM diffusers' `leading` spacing, the others `trailing`; --schedule replaces \
them all. The ablation is the paper's: DDIM in 10 steps on each schedule. Frechet distances are comparable only \
between equal numbers of images; the row `data` is the score of as many real images.";

/// Compare samplers at equal network calls: Frechet distance, sliced Wasserstein distance, time
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    cells: CellArgs,

    /// Names from `downhill sample --sampler list`, separated by commas, or `all`
    #[arg(long, value_name = "NAMES", default_value = "ge,ddim,dpm++2m,deis,unipc,pndm")]
    samplers: String,

    /// Numbers of network calls, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "5,10", value_parser = cells::calls)]
    steps: Vec<usize>,

    /// Images per seed and cell
    #[arg(short = 'n', long, value_name = "N", default_value = "96", value_parser = cells::count)]
    count: usize,

    /// One schedule for all samplers, instead of the usual one of each
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "SCHEDULE")]
    schedule: Option<ScheduleKind>,

    /// Omit the ablation of schedules
    #[arg(long)]
    no_ablation: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect compare";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let samplers = self.samplers()?;
        cells::distinct(&samplers, "samplers")?;
        cells::distinct(&self.steps, "steps")?;
        let mut lines = lines(&samplers, &self.steps, self.schedule);
        if !self.no_ablation {
            lines.extend(ablation());
        }
        let images = Images { count: self.count, seeds: self.cells.seeds, first_seed: self.output.seed };
        let measured = cells::measure(run, &self.cells, &self.output, &cells(&lines, &images)?, self.count)?;
        Ok(results(&lines, &measured, &images))
    }
}

impl Args {
    fn samplers(&self) -> Result<Vec<Sampler>> {
        match self.samplers.as_str() {
            "all" => Ok(Sampler::ALL.to_vec()),
            list => list
                .split(',')
                .map(|name| cells::sampler(name.trim()))
                .collect::<std::result::Result<_, _>>()
                .map_err(|names| Error::argument(format!("`--samplers {list}`"), names)),
        }
    }
}
