//! Rank correlations of two quantities, and their uncertainty.

use rand::RngExt;

use crate::noise::Purpose;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 4000;
/// Share of the resamples within the interval.
const CONFIDENCE: f64 = 0.95;

/// The ranks of values, from 0; equal ones share the mean of theirs.
#[must_use]
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let same = order[first..].iter().take_while(|at| values[**at] == values[order[first]]).count();
        for at in &order[first..first + same] {
            ranks[*at] = first as f64 + (same - 1) as f64 / 2.0;
        }
        first += same;
    }
    ranks
}

/// Spearman's rank correlation: the correlation of the ranks; 0 where either does not vary.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len().max(1) - 1) as f64 / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    if spread > 0.0 { product(&a, &b) / spread } else { 0.0 }
}

/// Kendall's tau-b: pairs in the same order less pairs in the opposite one, over the pairs that differ; 0 where none
/// do.
#[must_use]
pub fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let (mut sum, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let side = |values: &[f64]| f64::from(values[i].total_cmp(&values[j]) as i8);
            sum += side(a) * side(b);
            of_a += side(a).abs();
            of_b += side(b).abs();
        }
    }
    let pairs = f64::sqrt(of_a * of_b);
    if pairs > 0.0 { sum / pairs } else { 0.0 }
}

/// A mean over samples, with an interval that holds it in 95% of bootstrap resamples.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Of the samples themselves.
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// The index and the value of each finite value.
#[must_use]
pub fn paired(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let finite = values.iter().enumerate().filter(|(_, value)| value.is_finite());
    finite.map(|(at, value)| (at as f64, *value)).unzip()
}

/// The mean over samples of a `statistic` of index and value, the values of each sample in the order of their index;
/// those that are not finite are left out. A resample draws samples, then pairs within each, both with replacement: the
/// interval reflects both how few samples and how few pairs there are.
#[must_use]
pub fn bootstrap(samples: &[Vec<f64>], seed: u64, statistic: fn(&[f64], &[f64]) -> f64) -> Interval {
    let samples: Vec<_> =
        samples.iter().map(|values| paired(values)).filter(|(_, values)| !values.is_empty()).collect();
    let count = samples.len().max(1);
    let mean = samples.iter().map(|(index, values)| statistic(index, values)).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..if samples.is_empty() { 0 } else { RESAMPLES })
        .map(|resample| {
            let mut stream = Purpose::Resamples.stream(seed, resample as u64, 0);
            let mut drawn = || {
                let (index, values) = &samples[stream.random_range(0..samples.len())];
                let picks: Vec<usize> = values.iter().map(|_| stream.random_range(0..values.len())).collect();
                let pairs: (Vec<f64>, Vec<f64>) = picks.into_iter().map(|at| (index[at], values[at])).unzip();
                statistic(&pairs.0, &pairs.1)
            };
            (0..count).map(|_| drawn()).sum::<f64>() / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at =
        |share: f64| means.get((share * (means.len().max(1) - 1) as f64).round() as usize).copied().unwrap_or(mean);
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Interval { mean, low: at(outside), high: at(1.0 - outside) }
}

/// The chance of a mean `statistic` at least as large, of either sign, if the values of each sample were in a random
/// order: (1 + the orders that reach it) / (1 + all orders drawn). It is 1 where no order differs from another.
#[must_use]
pub fn chance(samples: &[Vec<f64>], seed: u64, statistic: fn(&[f64], &[f64]) -> f64) -> f64 {
    /// Above the rounding of sums in another order.
    const ROUNDING: f64 = 1e-9;
    let mut samples: Vec<_> = samples.iter().map(|values| paired(values)).collect();
    let total = |samples: &[(Vec<f64>, Vec<f64>)]| {
        samples.iter().map(|(index, values)| statistic(index, values)).sum::<f64>().abs()
    };
    let found = total(&samples);
    let mut reached = 0;
    for order in 0..RESAMPLES {
        let mut stream = Purpose::Orders.stream(seed, order as u64, 0);
        for (_, values) in &mut samples {
            for at in (1..values.len()).rev() {
                values.swap(at, stream.random_range(0..=at));
            }
        }
        reached += usize::from(total(&samples) >= found - ROUNDING);
    }
    (1 + reached) as f64 / (1 + RESAMPLES) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_those_of_scipy() {
        // scipy.stats.spearmanr and kendalltau
        let (a, b) = ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.3, 0.1, 0.4, 0.4, 0.9, 0.2]);
        assert!((spearman(&a, &b) - 0.289_885_517_8).abs() < 1e-9, "{}", spearman(&a, &b));
        assert!((kendall(&a, &b) - 0.276_026_223_7).abs() < 1e-9, "{}", kendall(&a, &b));
        assert_eq!((spearman(&a, &[1.0; 6]), kendall(&a, &[1.0; 6])), (0.0, 0.0));
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [1.5, 0.0, 1.5]);
    }

    #[test]
    fn an_interval_is_narrow_where_every_sample_agrees_and_wide_where_none_does() {
        let rising = |shift: f64| (0..10).map(|at| f64::from(at) + shift).collect::<Vec<_>>();
        let sure = bootstrap(&[rising(0.0), rising(1.0), rising(2.0)], 1, spearman);
        assert!(sure.mean > 0.999 && sure.low > 0.999, "{sure:?}");
        let falling = rising(0.0).into_iter().rev().collect();
        let unsure = bootstrap(&[rising(0.0), falling], 1, spearman);
        assert!(unsure.mean.abs() < 1e-12 && unsure.low < -0.9 && unsure.high > 0.9, "{unsure:?}");
        let none = bootstrap(&[], 1, spearman);
        assert_eq!((none.mean, none.low, none.high), (0.0, 0.0, 0.0));
        assert_eq!(sure, bootstrap(&[rising(0.0), rising(1.0), rising(2.0)], 1, spearman));
        let gaps = bootstrap(&[vec![f64::NAN; 4], vec![1.0, f64::NAN, 2.0, 3.0]], 1, spearman);
        assert!((gaps.mean - 1.0).abs() < 1e-12, "what is not finite is left out: {gaps:?}");
    }

    #[test]
    fn an_order_has_the_chance_of_its_permutations() {
        // Of the 24 orders of four values, two have a correlation of 1 or -1.
        let found = chance(&[vec![1.0, 2.0, 3.0, 4.0]], 3, spearman);
        assert!((found - 2.0 / 24.0).abs() < 0.015, "{found}");
        assert_eq!(chance(&[vec![5.0; 6]], 3, spearman), 1.0, "ties have no order");
        assert!(chance(&[vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], 3, kendall) < 0.002);
        assert!(chance(&[vec![3.0, 1.0, 4.0, 1.5, 2.0, 3.5]], 3, spearman) > 0.3);
    }
}
