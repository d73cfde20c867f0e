//! The flags of the noise of a chain.

use clap::ValueEnum;

use crate::cli::args::NumberList;
use crate::cli::numbers::whole;
use crate::error::{Error, Result};
use crate::study::chain::{Coupling, Schedule};

/// The most steps of a chain.
pub const MOST_STEPS: u64 = 10_000;

/// The flags of a schedule.
#[derive(Debug, clap::Args)]
pub struct ScheduleArgs {
    /// Distribution of the noise over the steps
    #[arg(long, value_enum, value_name = "SCHEDULE", default_value = "constant")]
    pub schedule: ScheduleFlag,

    /// Total variance of the noise (constant, geometric)
    #[arg(long, value_name = "V", default_value = "1")]
    pub variance: f64,

    /// Variance of a step relative to the step before (geometric)
    #[arg(long, value_name = "R", default_value = "0.9")]
    pub ratio: f64,
}

/// The values of `--schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleFlag {
    /// 1 / T per step, as in the paper's proof: a total variance of 1 / T
    Inverse,
    /// The same for each step, with a total variance that does not depend on T
    Constant,
    /// Variances that fall geometrically: most noise is added early
    Geometric,
}

impl ScheduleArgs {
    /// The schedule of the flags.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that are not positive.
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
    /// Standard deviations of the noise of the steps, instead of a schedule
    #[arg(long, value_name = "S,S,...", allow_hyphen_values = true,
        conflicts_with_all = ["schedule", "variance", "ratio", "steps"])]
    pub sigmas: Option<NumberList>,

    /// Steps, T; levels are 0 to T
    #[arg(long, value_name = "T", default_value = "40", value_parser = whole::<usize>(1..=MOST_STEPS))]
    pub steps: usize,

    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

impl StepArgs {
    /// `sigma_1` ... `sigma_T`, for `given` steps if their number is fixed.
    ///
    /// # Errors
    /// [`Error::Argument`] for values that are not standard deviations, or not as many as `given`.
    pub fn sigmas(&self, given: Option<usize>) -> Result<Vec<f64>> {
        let Some(NumberList(sigmas)) = &self.sigmas else {
            return Ok(self.schedule.schedule()?.sigmas(given.unwrap_or(self.steps)));
        };
        if let Some(sigma) = sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma >= 0.0)) {
            let what = format!("`{sigma}` of `--sigmas` is not a standard deviation");
            return Err(Error::argument(what, "give finite numbers of at least 0, one per step"));
        }
        if let Some(given) = given.filter(|given| *given != sigmas.len()) {
            let what = format!("`--sigmas` gives {} steps, and `--noise` {given}", sigmas.len());
            return Err(Error::argument(what, "give one standard deviation for each item of the noise (T,n,p)"));
        }
        Ok(sigmas.clone())
    }
}

/// Checks that samples have as many values as components are asked for.
///
/// # Errors
/// [`Error::Argument`] for more components than values.
pub fn expect_components(components: usize, dimension: usize) -> Result<()> {
    if components <= dimension {
        return Ok(());
    }
    let what = format!("`-k {components}` asks for more components than the {dimension} values of a sample");
    Err(Error::argument(what, format!("give `-k` a number from 1 to {dimension}")))
}

/// The values of `--coupling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CouplingFlag {
    /// `x_t` = `x_(t-1)` + noise: the forward chain itself
    Nested,
    /// `x_t` = `x_0` + independent noise
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
