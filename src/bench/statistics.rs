//! Statistics of a handful of noisy samples.

use serde::{Deserialize, Serialize};

/// With fewer samples than this, a spread is not meaningful.
const FEWEST_FOR_SPREAD: usize = 3;

/// The time of one call, from several samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds per call in each sample, in the order measured; empty where only their summary was kept.
    #[serde(default)]
    pub samples: Vec<f64>,
    /// The number of calls per sample, one after the other in one submission; 0 where it was not kept.
    #[serde(default)]
    pub calls: usize,
    /// The median sample, in seconds.
    pub median: f64,
    /// The shortest sample, in seconds, where it was kept.
    #[serde(default)]
    pub least: Option<f64>,
    /// The distance between the quartiles over the median; `None` for fewer than three samples.
    #[serde(default)]
    pub spread: Option<f64>,
}

impl Timing {
    /// Summarises `samples` (seconds per call, at least one).
    #[must_use]
    pub fn new(samples: Vec<f64>, calls: usize) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let spread = (sorted.len() >= FEWEST_FOR_SPREAD)
            .then(|| (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / median.max(f64::MIN_POSITIVE));
        Self { median, least: Some(quantile(&sorted, 0.0)), samples, calls, spread }
    }
}

/// Returns the quantile `at` of sorted values, interpolated linearly, or 0 for no values.
#[must_use]
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * place.fract(),
        _ => 0.0,
    }
}

/// The outcome of a comparison with an earlier measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Faster by more than both spreads.
    Faster,
    /// Slower by more than both spreads.
    Slower,
    /// Within the spreads.
    Same,
    /// Unknown: one of the two has too few samples.
    Unsure,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Unsure => "unsure",
        })
    }
}

/// A comparison with an earlier measurement of the same work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The earlier median, in seconds.
    pub base: f64,
    /// The earlier median over this one: 2 is twice as fast.
    pub speedup: f64,
    /// The noise of that ratio: the sum of both spreads; `None` if one of them is unknown.
    #[serde(default)]
    pub noise: Option<f64>,
    /// The judgement, given the noise.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares `now` with `base`.
    #[must_use]
    pub fn new(now: &Timing, base: &Timing) -> Self {
        let speedup = base.median / now.median.max(f64::MIN_POSITIVE);
        let noise = now.spread.zip(base.spread).map(|(spread, base_spread)| spread + base_spread);
        let verdict = match noise.map(|noise| 1.0 + noise) {
            Some(noise) if speedup > noise => Verdict::Faster,
            Some(noise) if speedup * noise < 1.0 => Verdict::Slower,
            Some(_) => Verdict::Same,
            None => Verdict::Unsure,
        };
        Self { base: base.median, speedup, noise, verdict }
    }

    /// This median over the earlier one: 2 is twice as slow.
    #[must_use]
    pub fn time_ratio(&self) -> f64 {
        1.0 / self.speedup.max(f64::MIN_POSITIVE)
    }

    /// The ratios of times within the noise: that of the medians divided and multiplied by one plus the noise.
    #[must_use]
    pub fn time_range(&self) -> Option<(f64, f64)> {
        let noise = 1.0 + self.noise?;
        Some((self.time_ratio() / noise, self.time_ratio() * noise))
    }

    /// Returns `true` if it is slower by more than the share `limit` beyond the noise: if the least ratio of
    /// [`Self::time_range`] is above one plus the limit. `None` if the noise is unknown.
    #[must_use]
    pub fn is_slower(&self, limit: f64) -> Option<bool> {
        self.time_range().map(|(least, _)| least > 1.0 + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_quartiles_lie_between_samples() {
        let timing = Timing::new(vec![4.0, 1.0, 3.0, 2.0], 5);
        assert_eq!((timing.median, timing.least, timing.calls), (2.5, Some(1.0), 5));
        assert_eq!(timing.spread, Some((3.25 - 1.75) / 2.5));
        assert_eq!(timing.samples, [4.0, 1.0, 3.0, 2.0], "samples stay as they came");
        let odd = Timing::new(vec![9.0, 1.0, 2.0], 1);
        assert_eq!((odd.median, odd.spread), (2.0, Some(2.0)));
    }

    #[test]
    fn one_sample_has_no_spread() {
        let one = Timing::new(vec![2.0], 1);
        assert_eq!((one.median, one.least, one.spread), (2.0, Some(2.0), None));
        assert_eq!(Comparison::new(&one, &Timing::new(vec![9.0], 1)).verdict, Verdict::Unsure);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_ratio_counts_only_beyond_both_spreads() {
        let around = |centre: f64| Timing::new([0.9, 0.95, 1.0, 1.05, 1.1].map(|v| v * centre).to_vec(), 1);
        let verdict = |now: f64, base: f64| Comparison::new(&around(now), &around(base)).verdict;
        assert_eq!(verdict(1.0, 1.15), Verdict::Same);
        assert_eq!(verdict(1.0, 1.25), Verdict::Faster);
        assert_eq!(verdict(1.25, 1.0), Verdict::Slower);
        assert_eq!(Comparison::new(&around(1.0), &around(2.0)).speedup, 2.0);
    }
}
