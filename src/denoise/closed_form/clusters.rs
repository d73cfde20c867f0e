//! Clusters of samples by k-means (Lloyd, "Least squares quantization in PCM", 1982), in float64 on the host.
//!
//! The first centres are samples, each drawn with a chance in proportion to its squared distance from the nearest
//! centre so far (Arthur and Vassilvitskii, "k-means++", 2007). The draws follow from a seed, and sums are in the order
//! of the samples, so that the same data give the same clusters on every machine.

use rand::RngExt;
use rayon::prelude::*;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::noise::Purpose;

/// A bound on the passes over the data. Lloyd's iteration ends earlier: no assignment repeats.
const MOST_PASSES: usize = 300;

/// Returns the samples of each of at most `count` clusters, none empty. There are fewer where fewer samples differ.
///
/// # Errors
/// [`Error::Argument`] for more clusters than samples, and for none.
pub fn clusters(data: &Dataset, count: usize, seed: u64) -> Result<Vec<Vec<usize>>> {
    if count == 0 || count > data.count() {
        let what = format!("{count} clusters of the {} samples of `{}`", data.count(), data.name);
        return Err(Error::argument(what, format!("take 1 to {} components", data.count())));
    }
    let mut centres = first_centres(data, count, seed);
    let mut nearest: Vec<usize> = Vec::new();
    for _ in 0..MOST_PASSES {
        let found: Vec<(usize, f64)> =
            data.samples.data.par_chunks_exact(data.dimension()).map(|sample| closest(sample, &centres)).collect();
        let assigned: Vec<usize> = found.into_iter().map(|(centre, _)| centre).collect();
        if assigned == nearest {
            break;
        }
        nearest = assigned;
        let mut counts = vec![0usize; centres.len()];
        let mut sums = vec![vec![0.0; data.dimension()]; centres.len()];
        for (at, centre) in nearest.iter().enumerate() {
            counts[*centre] += 1;
            sums[*centre].iter_mut().zip(data.samples.item(at)).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        for ((centre, sum), count) in centres.iter_mut().zip(sums).zip(counts).filter(|(_, count)| *count > 0) {
            *centre = sum.into_iter().map(|sum| sum / count as f64).collect();
        }
    }
    let mut members = vec![Vec::new(); centres.len()];
    nearest.into_iter().enumerate().for_each(|(at, centre)| members[centre].push(at));
    members.retain(|members| !members.is_empty());
    Ok(members)
}

fn first_centres(data: &Dataset, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let sample = |at: usize| -> Vec<f64> { data.samples.item(at).iter().map(|value| f64::from(*value)).collect() };
    let mut centres = vec![sample((uniform(seed, 0) * data.count() as f64) as usize)];
    let mut squares = vec![f64::INFINITY; data.count()];
    while centres.len() < count {
        let latest = &centres[centres.len() - 1];
        squares.par_iter_mut().enumerate().for_each(|(at, square)| {
            *square = square.min(squared_distance(data.samples.item(at), latest));
        });
        let total: f64 = squares.iter().sum();
        if total <= 0.0 {
            // All samples are centres already.
            break;
        }
        let mut left = uniform(seed, centres.len() as u64) * total;
        let passed = |square: &f64| {
            left -= square;
            left < 0.0 && *square > 0.0
        };
        let last = squares.iter().rposition(|square| *square > 0.0).unwrap_or(0);
        centres.push(sample(squares.iter().position(passed).unwrap_or(last)));
    }
    centres
}

/// The closest centre, the first of equal ones, and its squared distance.
fn closest(sample: &[f32], centres: &[Vec<f64>]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let square = squared_distance(sample, centre);
        if square < best.1 {
            best = (at, square);
        }
    }
    best
}

fn squared_distance(sample: &[f32], centre: &[f64]) -> f64 {
    sample.iter().zip(centre).map(|(value, centre)| (f64::from(*value) - centre).powi(2)).sum()
}

/// A number from 0 to below 1.
fn uniform(seed: u64, centre: u64) -> f64 {
    Purpose::Clusters.stream(seed, centre, 0).random()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    /// Three groups far apart, whose members alternate.
    fn groups(count: usize) -> Dataset {
        let at = |sample: usize, axis: usize| {
            let group = sample % 3;
            100.0 * f32::from(u8::from(group == axis)) + (sample * 7 % 11) as f32 * 0.1 + axis as f32
        };
        let values = (0..count).flat_map(|sample| (0..3).map(move |axis| at(sample, axis))).collect();
        Dataset::new("groups", Tensor::new([count, 3], values)).unwrap()
    }

    #[test]
    fn groups_that_lie_apart_are_the_clusters() {
        let data = groups(60);
        for seed in 0..20 {
            let mut found = clusters(&data, 3, seed).unwrap();
            found.sort();
            let expected: Vec<Vec<usize>> = (0..3).map(|group| (group..60).step_by(3).collect()).collect();
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn no_sample_is_nearer_to_another_cluster() {
        let values = (0..400u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).collect();
        let data = Dataset::new("data", Tensor::new([100, 4], values)).unwrap();
        let found = clusters(&data, 7, 3).unwrap();
        assert_eq!(found, clusters(&data, 7, 3).unwrap());
        assert_ne!(found, clusters(&data, 7, 4).unwrap());
        let centres: Vec<Vec<f64>> = found
            .iter()
            .map(|members| {
                let sum = |axis: usize| members.iter().map(|at| f64::from(data.samples.item(*at)[axis])).sum::<f64>();
                (0..4).map(|axis| sum(axis) / members.len() as f64).collect()
            })
            .collect();
        for (cluster, members) in found.iter().enumerate() {
            for at in members {
                assert_eq!(closest(data.samples.item(*at), &centres).0, cluster, "sample {at}");
            }
        }
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 100);
    }

    #[test]
    fn samples_that_are_equal_share_a_cluster() {
        let data = Dataset::new("data", Tensor::new([5, 1], vec![1.0, 1.0, 2.0, 2.0, 1.0])).unwrap();
        let mut found = clusters(&data, 4, 0).unwrap();
        found.sort();
        assert_eq!(found, [vec![0, 1, 4], vec![2, 3]]);
        assert!(clusters(&data, 6, 0).is_err() && clusters(&data, 0, 0).is_err());
    }
}
