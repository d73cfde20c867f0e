//! `downhill linear assumptions`: the assumptions of the theorem, and equation 24.

use std::path::Path;

use serde_json::json;

use super::sigmas::{StepArgs, expect_components};
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::error::{Error, Result};
use crate::study::assumptions::{Assumptions, CASES, FILES, Settings, measured, results};
use crate::study::chain::Projector;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear assumptions -o assumptions
  downhill linear assumptions --data power-law:n=1000,p=300 --variance 0.1 -o assumptions
  downhill linear assumptions --steps 20 --draws 20 --mass 0.01 -o assumptions

A component has left the small-angle regime at the first level t at which row and column i of U_t' U_(t+1) have more \
than --mass of their energy off the diagonal. Assumption 4.2 of the paper says that the last components leave first, \
so that the block of the others stays diagonal: the rank correlation of index and level of leaving, with an interval \
and the chance of one as large, the energy off the diagonal within the block, and P beside equation 24, the diagonal \
of the products of cosines in the basis of level 0. All of these under each coupling of the noise, and on two sets of \
spikes for comparison: eigenvalues that fall by halves, whose order should be found, and equal ones, which have none.

The mean is subtracted from the data unless --no-center leaves it in.";

/// Measure when components leave the small-angle regime, and equation 24 against the product
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    steps: StepArgs,

    /// Share of energy off the diagonal at which a component has left
    #[arg(long, value_name = "SHARE", default_value = "0.05")]
    mass: f64,

    /// Number of components
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(2..=1000))]
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
    const NAME: &'static str = "linear assumptions";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        if !(self.mass > 0.0 && self.mass < 1.0) {
            let what = format!("`--mass {}` is not a share between 0 and 1", self.mass);
            return Err(Error::argument(what, "give a small number, such as 0.05"));
        }
        let sigmas = self.steps.sigmas(None)?;
        let data = self.data.load(USUAL, run)?;
        expect_components(self.components, data.dimension())?;
        let engine = run.engine()?;
        let projector = Projector::new(&engine, self.components);
        let settings = Settings {
            data: &data.samples,
            sigmas: &sigmas,
            mass: self.mass,
            draws: self.draws,
            seed: self.output.seed,
        };
        let mut parts = run.parts(&self.shard, &self.output, Some(&engine), || {
            json!({
                "data": data_settings(&data), "sigmas": sigmas, "mass": self.mass, "draws": self.draws,
                "components": self.components, "arithmetic": projector.arithmetic(),
            })
        })?;
        parts.measure("cases", CASES, |shard| {
            let work = (shard.len(CASES) * self.draws * (sigmas.len() + 1)) as u64;
            run.timed("levels", work, "chains", |advance| measured(&projector, &settings, shard, advance))
        })?;
        let Some(rows) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let found = Assumptions::of_rows(rows.rows("cases")?, &settings, &data.name, self.components);
        Ok(results(&found, &settings, &data.name, projector.arithmetic()))
    }
}
