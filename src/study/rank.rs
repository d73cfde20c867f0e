//! Rank correlations of two quantities, and their uncertainty.

use rand::RngExt;

use crate::noise::philox::Stream;

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

/// The mean over samples of a `statistic` of index and value, the values of each sample in the order of their index. A
/// resample draws samples, then pairs within each, both with replacement: the interval reflects both how few samples
/// and how few pairs there are.
#[must_use]
pub fn bootstrap(samples: &[Vec<f64>], seed: u64, statistic: fn(&[f64], &[f64]) -> f64) -> Interval {
    let indices: Vec<f64> = (0..samples.iter().map(Vec::len).max().unwrap_or(0)).map(|at| at as f64).collect();
    let of = |values: &[f64]| statistic(&indices[..values.len()], values);
    let count = samples.len().max(1);
    let mean = samples.iter().map(|values| of(values)).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..if samples.is_empty() { 0 } else { RESAMPLES })
        .map(|resample| {
            let mut stream = Stream::new(seed, resample as u64, 0);
            let mut drawn = || {
                let values = &samples[stream.random_range(0..samples.len())];
                let picks: Vec<usize> = values.iter().map(|_| stream.random_range(0..values.len())).collect();
                let pairs: (Vec<f64>, Vec<f64>) = picks.into_iter().map(|at| (at as f64, values[at])).unzip();
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
    }
}
