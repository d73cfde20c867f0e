//! `downhill linear energy`: the modes that a linear chain generates.

use std::path::Path;

use serde_json::json;

use super::sigmas::{MOST_STEPS, expect_components};
use crate::cli::args::NumberList;
use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::error::{Error, Result};
use crate::noise::seeds;
use crate::study::chain::Projector;
use crate::study::energy::{Case, Energies, FILES, Measured, kinds, results, run as measure};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear energy -o energy
  downhill linear energy --data spiked:n=1500,p=300,spikes=5/4/3/2/1 -k 5 --variance 1 -o energy
  downhill linear energy --steps 10,40,120,480 --draws 5 -o energy

The energy of generated samples along each component u_i of the data, over their sum (equation 26), against i, for \
several numbers of steps T, three couplings of the noise across levels (nested, fresh, shared), and three schedules: a \
constant variance per step for a given total; 1/T per step, as in the paper's proof; variances that fall \
geometrically, so that the chain converges faster. energy.csv holds them with the effective number of modes \
(participation ratio), and the variances of modes when noise is injected at each step beside equation 25, whose \
largest relative error over the components is in modes.csv.

Only fresh noise of a fixed total concentrates as T grows. With close eigenvalues, a neighbour of the first \
component may win: the report names the largest. The mean is subtracted from the data unless --no-center leaves it in.";

/// Measure the modes that a linear chain generates (equations 25 and 26, figure 6)
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Numbers of steps T, separated by commas
    #[arg(long, value_name = "T,T,...", default_value = "10,40,120", allow_hyphen_values = true)]
    steps: NumberList,

    /// Total variance of the noise, for the schedules in which it is fixed
    #[arg(long, value_name = "V", default_value = "0.3")]
    variance: f64,

    /// Variance of a step relative to the step before, in the geometric schedule
    #[arg(long, value_name = "R", default_value = "0.8")]
    ratio: f64,

    /// Number of components kept per level
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=1000))]
    components: usize,

    /// Number of draws of the noise
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole::<usize>(1..=1000))]
    draws: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const USUAL: Usual = Usual { samples: 1000, centred: true };

impl Study for Args {
    const NAME: &'static str = "linear energy";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let steps = step_counts(&self.steps)?;
        for (flag, value) in [("variance", self.variance), ("ratio", self.ratio)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::argument(format!("`--{flag} {value}` is not above 0"), "give a positive number"));
            }
        }
        let seeds = seeds(self.output.seed, self.draws as u64)?;
        let kinds = kinds(self.variance, self.ratio);
        let data = self.data.load(USUAL, run)?;
        expect_components(self.components, data.dimension())?;
        let engine = run.engine()?;
        let projector = Projector::new(&engine, self.components);
        let of_kind = |(coupling, schedule)| {
            steps.iter().map(move |steps| Case { coupling, schedule, steps: *steps }).collect::<Vec<_>>()
        };
        let cases: Vec<Case> = kinds.into_iter().flat_map(of_kind).collect();
        let mut parts = run.parts(&self.shard, &self.output, Some(&engine), || {
            json!({
                "data": data_settings(&data), "cases": cases, "components": self.components, "draws": self.draws,
                "arithmetic": projector.arithmetic(),
            })
        })?;
        parts.measure("draws", cases.len() * self.draws, |shard| {
            let draws = shard.items(cases.len() * self.draws);
            let work = draws.clone().map(|draw| cases[draw / self.draws].steps as u64 + 1).sum();
            run.timed("levels", work, "chains", |advance| {
                let measured = draws.map(|draw| {
                    let (case, seed) = (cases[draw / self.draws], seeds[draw % self.draws]);
                    Ok(measure(&projector, &data.samples, case, seed, advance)?.row())
                });
                Ok(Rows::of_each(measured.collect::<Result<_>>()?))
            })
        })?;
        let Some(rows) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let rows = rows.rows("draws")?;
        let measured = |(at, case): (usize, Case)| {
            let draws = (0..self.draws).map(|draw| Energies::of_row(rows.row(at * self.draws + draw))).collect();
            Measured { case, draws }
        };
        let found: Vec<Measured> = cases.into_iter().enumerate().map(measured).collect();
        let settings = json!({
            "steps": steps, "variance": self.variance, "ratio": self.ratio, "components": self.components,
            "draws": self.draws, "seed": self.output.seed, "arithmetic": projector.arithmetic(),
        });
        Ok(results(&found, &data.name, settings))
    }
}

fn step_counts(list: &NumberList) -> Result<Vec<usize>> {
    let whole = |number: &f64| {
        let fits = number.fract() == 0.0 && (1.0..=MOST_STEPS as f64).contains(number);
        if fits {
            return Ok(*number as usize);
        }
        let what = format!("`{number}` of `--steps` is not a number of steps");
        Err(Error::argument(what, format!("give whole numbers from 1 to {MOST_STEPS}")))
    };
    let mut steps = list.0.iter().map(whole).collect::<Result<Vec<_>>>()?;
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
}
