//! The flags that say how much noise each step of a chain adds.

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use crate::cli::args::NumberList;
use crate::error::{Error, Result};
use crate::study::chain::{Coupling, Schedule};

/// Levels of a chain at most.
pub const MOST_STEPS: u64 = 10_000;

/// The flags of a schedule.
#[derive(Debug, clap::Args)]
pub struct ScheduleArgs {
    /// How the noise is shared out among the steps
    #[arg(long, value_enum, value_name = "SCHEDULE", default_value = "constant")]
    pub schedule: ScheduleFlag,

    /// Variance of all noise together (constant, geometric)
    #[arg(long, value_name = "V", default_value = "1", allow_negative_numbers = true)]
    pub variance: f64,

    /// Variance of a step over that of the step before (geometric)
    #[arg(long, value_name = "R", default_value = "0.9", allow_negative_numbers = true)]
    pub ratio: f64,
}

/// The values of `--schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleFlag {
    /// 1 / T each step, as in the paper's proof: a total variance of 1 / T
    Inverse,
    /// The same each step, whatever T, for a given total variance
    Constant,
    /// Variances that fall geometrically: most noise comes early
    Geometric,
}

impl ScheduleArgs {
    /// The schedule that was asked for.
    ///
    /// # Errors
    /// A usage error for numbers that make none.
    pub fn schedule(&self) -> Result<Schedule> {
        let positive = |flag: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(value);
            }
            Err(Error::argument(format!("`--{flag} {value}` is not above 0"), "give a positive number"))
        };
        let (variance, ratio) = (positive("variance", self.variance)?, positive("ratio", self.ratio)?);
        Ok(match self.schedule {
            ScheduleFlag::Inverse => Schedule::Inverse,
            ScheduleFlag::Constant => Schedule::Constant { variance },
            ScheduleFlag::Geometric => Schedule::Geometric { variance, ratio },
        })
    }
}

/// The flags of the steps of one chain.
#[derive(Debug, clap::Args)]
pub struct StepArgs {
    /// Standard deviation of the noise of each step, instead of a schedule
    #[arg(long, value_name = "S,S,...", allow_hyphen_values = true, conflicts_with_all = ["schedule", "variance", "ratio", "steps"])]
    pub sigmas: Option<NumberList>,

    /// Steps, T; levels are 0 to T
    #[arg(long, value_name = "T", default_value = "40", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_STEPS))]
    pub steps: usize,

    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

impl StepArgs {
    /// `sigma_1` ... `sigma_T`; of the schedule, for `given` steps if there is a number of them that must be.
    ///
    /// # Errors
    /// A usage error for deviations that are none.
    pub fn sigmas(&self, given: Option<usize>) -> Result<Vec<f64>> {
        let Some(NumberList(sigmas)) = &self.sigmas else {
            return Ok(self.schedule.schedule()?.sigmas(given.unwrap_or(self.steps)));
        };
        if let Some(sigma) = sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma >= 0.0)) {
            let what = format!("`{sigma}` of `--sigmas` is no standard deviation");
            return Err(Error::argument(what, "give finite numbers of at least 0, one a step"));
        }
        if let Some(given) = given.filter(|given| *given != sigmas.len()) {
            let what = format!("`--sigmas` gives {} steps, and `--noise` {given}", sigmas.len());
            return Err(Error::argument(what, "give one standard deviation for each item of the noise (T,n,p)"));
        }
        Ok(sigmas.clone())
    }
}

/// The values of `--coupling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CouplingFlag {
    /// `x_t` = `x_(t-1)` + noise: the forward chain itself
    Nested,
    /// `x_t` = `x_0` + noise of its own
    Fresh,
    /// `x_t` = `x_0` + the same noise, scaled
    Shared,
}

impl From<CouplingFlag> for Coupling {
    fn from(flag: CouplingFlag) -> Self {
        match flag {
            CouplingFlag::Nested => Self::Nested,
            CouplingFlag::Fresh => Self::Fresh,
            CouplingFlag::Shared => Self::Shared,
        }
    }
}
