//! `downhill inspect gamma`: quality against the weight of the newest eps.

use std::path::Path;

use super::cells::{self, CellArgs, Wanted};
use crate::cli::parts::CellShardArgs;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data::{Pixels, Source};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::study::compare::resolve;
use crate::study::gamma::{FILES, Gaussian, Settings, results, sigmas};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect gamma -o gamma
  downhill inspect gamma --steps 10 --gammas 1,1.5,2,2.5,3 -n 1024 --seeds 3 -o gamma
  downhill inspect gamma --gaussian-only -o gamma

On Gaussians (of unit variance, and of the covariance of the data) the distance of the samples is known exactly, and \
so is the best gamma. On the network, images are sampled, kept in DIR/samples and compared with the data; a run that \
is interrupted resumes where it stopped. The best gamma of each seed is the vertex of a parabola; several --seeds give \
its interval. The paper's sweep is 21 values from 1 to 3.";

/// Measure quality against gamma, on a network and on Gaussians where the optimum is known
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    cells: CellArgs,

    /// Numbers of network calls, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "5,10,20", value_parser = cells::calls)]
    steps: Vec<usize>,

    /// Weights of the newest eps, separated by commas; 1 is DDIM
    #[arg(long, value_name = "G", value_delimiter = ',', default_value = "1,1.4,1.7,2,2.5,3,4")]
    gammas: Vec<f64>,

    /// Images per seed and cell
    #[arg(short = 'n', long, value_name = "N", default_value = "64", value_parser = cells::count)]
    count: usize,

    /// Omit the network
    #[arg(long, conflicts_with = "shard")]
    gaussian_only: bool,

    #[command(flatten)]
    shard: CellShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect gamma";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        cells::distinct(&self.steps, "steps")?;
        cells::distinct(&self.gammas, "gammas")?;
        if let Some(gamma) = self.gammas.iter().find(|gamma| !(0.0..=10.0).contains(*gamma)) {
            let what = format!("`--gammas` lists {gamma}");
            return Err(Error::argument(what, "give numbers from 0 to 10; the paper uses 1 to 3"));
        }
        let model = Model::open_or_embedded(self.cells.model.as_deref())?;
        let network = model.expect_network()?;
        let grid = |calls: &usize| {
            let cell = Settings::cell(*calls, 1.0, 0);
            Ok(sigmas(&resolve(&cell, &network.scheduler, &network.table, false)?.schedule))
        };
        let settings = Settings {
            steps: self.steps.clone(),
            gammas: self.gammas.clone(),
            images: self.count,
            seeds: self.cells.seeds,
            first_seed: self.output.seed,
            grids: self.steps.iter().map(grid).collect::<Result<_>>()?,
        };
        // Statistics, which other studies take as data, have no covariance of pixels: refused before images are made.
        let gaussians = Gaussian::pair(&Source::parse(&self.cells.data)?.load(Pixels::Signed)?)?;
        run.clock.lap("covariance");
        if self.gaussian_only {
            return Ok(results(&settings, &gaussians, None));
        }
        let (shard, all) = (self.shard.resolve(run)?, settings.cells()?);
        let wanted = Wanted { cells: &all, count: self.count, shard, image_shape: None, captioned: None };
        let measured = cells::measure(run, &self.cells, &self.output, wanted)?;
        Ok(measured.map_or_else(Results::unfinished, |measured| results(&settings, &gaussians, Some(&measured))))
    }
}
