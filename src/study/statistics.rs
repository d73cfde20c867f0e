//! Lengths of vectors, and summaries of many numbers.

use serde::Serialize;

/// |a|
#[must_use]
pub fn norm(a: &[f32]) -> f64 {
    a.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// |a - b|
#[must_use]
pub fn apart(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// |a/|a| - b/|b||, from 0 (equal directions) to 2 (opposite ones).
#[must_use]
pub fn turn(a: &[f32], b: &[f32]) -> f64 {
    let (one, other) = (norm(a).max(f64::MIN_POSITIVE), norm(b).max(f64::MIN_POSITIVE));
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (f64::from(*a) / one - f64::from(*b) / other).powi(2)).sum::<f64>().sqrt()
}

/// The value below which `share` (0 to 1) of the sorted `values` lie, without interpolation; NaN without values.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count => sorted[((share * count as f64).ceil() as usize).clamp(1, count) - 1],
    }
}

/// A quantile of a population, and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// The share of the population below it.
    pub share: f64,
    /// Of the sample.
    pub value: f64,
    /// The 95 % interval. Without an upper end, the sample is too small to bound it.
    pub low: f64,
    pub high: Option<f64>,
    /// Values of the sample.
    pub count: usize,
}

impl Quantile {
    /// The quantile `share` of the population that `sorted` was drawn from. Its interval is between two of the values:
    /// the number of values below it is binomial, whatever the distribution.
    #[must_use]
    pub fn of(sorted: &[f64], share: f64) -> Self {
        const NORMAL: f64 = 1.959_964;
        let count = sorted.len();
        let (mean, deviation) = (share * count as f64, (share * (1.0 - share) * count as f64).sqrt());
        let low = (mean - NORMAL * deviation).floor().max(0.0) as usize;
        let high = (mean + NORMAL * deviation).ceil() as usize;
        Self {
            share,
            value: quantile(sorted, share),
            low: sorted.get(low.min(count.saturating_sub(1))).copied().unwrap_or(f64::NAN),
            high: sorted.get(high).copied(),
            count,
        }
    }
}

impl std::fmt::Display for Quantile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, low, high, .. } = self;
        match high {
            Some(high) => write!(f, "{value:.3} (95 % interval {low:.3} to {high:.3})"),
            None => write!(f, "{value:.3} (at least {low:.3}; the sample is too small for an upper bound)"),
        }
    }
}

/// The values in rising order, without NaN.
#[must_use]
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A summary of many numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub mean: f64,
    pub median: f64,
    /// The 5 % quantile.
    pub low: f64,
    /// The 95 % quantile.
    pub high: f64,
    pub least: f64,
    pub most: f64,
}

impl Summary {
    /// The summary of `values`, ignoring NaN.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        Self {
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.05),
            high: quantile(&sorted, 0.95),
            least: quantile(&sorted, 0.0),
            most: quantile(&sorted, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_summed_up() {
        let summary = Summary::of((1..=100).map(f64::from).chain([f64::NAN]));
        assert_eq!((summary.mean, summary.median, summary.low, summary.high), (50.5, 50.0, 5.0, 95.0));
        assert_eq!((summary.least, summary.most), (1.0, 100.0));
        assert!(Summary::of([]).median.is_nan());
    }

    #[test]
    fn a_quantile_has_the_interval_of_a_binomial() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let found = Quantile::of(&values, 0.95);
        // 950 +- 1.96 sqrt(47.5)
        assert_eq!((found.value, found.low, found.high), (949.0, 936.0, Some(964.0)));
        let few = Quantile::of(&values[..32], 0.95);
        assert_eq!((few.value, few.high), (30.0, None), "32 values do not bound their 95 % quantile");
    }

    #[test]
    fn directions_turn_by_up_to_two() {
        assert!(turn(&[3.0, 0.0], &[7.0, 0.0]) < 1e-12);
        assert!((turn(&[3.0, 0.0], &[-1.0, 0.0]) - 2.0).abs() < 1e-12);
        assert!((turn(&[1.0, 0.0], &[0.0, 5.0]) - 2f64.sqrt()).abs() < 1e-12);
        assert!((apart(&[1.0, 2.0], &[4.0, 6.0]) - 5.0).abs() < 1e-12);
    }
}
