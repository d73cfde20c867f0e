//! `downhill linear angles`: the turning of components as noise grows.

use std::path::Path;

use serde_json::json;

use super::sigmas::{CouplingFlag, StepArgs, expect_components};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::error::Result;
use crate::study::angles::{FILES, Settings, draws, results, summarised};
use crate::study::chain::Projector;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear angles -o angles
  downhill linear angles --coupling fresh --variance 4 --steps 40 --draws 20 -o angles
  downhill linear angles --data spiked:n=1500,p=300,spikes=5/4/3/2/1 -k 5 -o angles

The sine of the angle between component i at level t and at level 0, against t, dark to bright by i: the mean over \
draws of the noise with its 95 % band, and beside it Nadler's curve (each component alone, its eigenvalue the signal) \
and the expansion for little noise over the whole spectrum. A component with a close neighbour turns sooner than its \
index suggests: see the gaps in the report.

The mean is subtracted from the data unless --no-center leaves it in; then it is component 0, and hardly turns.";

/// Measure how components turn as noise grows (figures 2 and 3 of the paper)
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    steps: StepArgs,

    /// Coupling of the noise of different levels
    #[arg(long, value_enum, value_name = "COUPLING", default_value = "nested")]
    coupling: CouplingFlag,

    /// Number of components
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=1000))]
    components: usize,

    /// Number of draws of the noise
    #[arg(long, value_name = "N", default_value = "5", value_parser = whole::<usize>(1..=10_000))]
    draws: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const USUAL: Usual = Usual { samples: 1000, centred: true };

impl Study for Args {
    const NAME: &'static str = "linear angles";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let data = self.data.load(USUAL, run)?;
        expect_components(self.components, data.dimension())?;
        let sigmas = self.steps.sigmas(None)?;
        let engine = run.engine()?;
        let projector = Projector::new(&engine, self.components);
        let settings = Settings {
            data: &data.samples,
            sigmas: &sigmas,
            coupling: self.coupling.into(),
            draws: self.draws,
            seed: self.output.seed,
        };
        let mut parts = run.parts(&self.shard, &self.output, Some(&engine), || {
            json!({
                "data": data_settings(&data), "sigmas": sigmas, "coupling": settings.coupling, "draws": self.draws,
                "components": self.components, "arithmetic": projector.arithmetic(),
            })
        })?;
        parts.measure("draws", self.draws, |shard| {
            let work = (shard.len(self.draws) * (sigmas.len() + 1)) as u64;
            run.timed("levels", work, "angles", |advance| draws(&projector, &settings, shard, advance))
        })?;
        let Some(rows) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let found = summarised(rows.rows("draws")?, self.components, &settings)?;
        Ok(results(&found, &settings, &data.name, projector.arithmetic()))
    }
}
