//! Schedules of the noise that each step adds.

/// Standard deviations `sigma_1` ... `sigma_T` of the noise that the steps add.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// `sigma_t = 1 / T`, that of the paper's proof: a total variance of 1 / T.
    Inverse,
    /// The same at each step, a total variance that does not depend on T.
    Constant { variance: f64 },
    /// Variances that fall by `ratio` from step to step, with a given total: most of the noise comes early, so more
    /// levels are noisy, and a chain with fresh noise converges faster.
    Geometric { variance: f64, ratio: f64 },
}

impl Schedule {
    /// The deviations of `steps` steps.
    #[must_use]
    pub fn sigmas(&self, steps: usize) -> Vec<f64> {
        let count = steps as f64;
        match *self {
            Self::Inverse => vec![count.recip(); steps],
            Self::Constant { variance } => vec![(variance / count).sqrt(); steps],
            Self::Geometric { variance, ratio } => {
                let weights: Vec<f64> = (0..steps).map(|step| ratio.powi(step as i32)).collect();
                let total: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| (variance * weight / total).sqrt()).collect()
            }
        }
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inverse => f.write_str("σ = 1/T"),
            Self::Constant { variance } => write!(f, "constant σ, Σσ² = {variance}"),
            Self::Geometric { variance, ratio } => write!(f, "geometric σ² ({ratio}), Σσ² = {variance}"),
        }
    }
}

/// `s_0` ... `s_T`: the deviation of all noise up to each level.
#[must_use]
pub(super) fn totals(sigmas: &[f64]) -> Vec<f64> {
    let mut variance = 0.0;
    let sums = sigmas.iter().map(|sigma| {
        variance += sigma * sigma;
        f64::sqrt(variance)
    });
    std::iter::once(0.0).chain(sums).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_as_promised() {
        for (schedule, expected) in [
            (Schedule::Inverse, 1.0 / 40.0),
            (Schedule::Constant { variance: 9.0 }, 9.0),
            (Schedule::Geometric { variance: 2.0, ratio: 0.7 }, 2.0),
        ] {
            let sigmas = schedule.sigmas(40);
            assert_eq!(sigmas.len(), 40);
            let total = totals(&sigmas)[40].powi(2);
            assert!((total / expected - 1.0).abs() < 1e-12, "{schedule}: {total}");
        }
        let early = totals(&Schedule::Geometric { variance: 1.0, ratio: 0.5 }.sigmas(100));
        assert!(early[2].powi(2) > 0.74 && early.len() == 101 && early[0] == 0.0);
    }
}
