//! Mixtures of Gaussians against float64 computed here: densities by whole matrices, posterior means by differences of
//! their logarithms, limits by what they must become.

use crate::common::numbers;
use downhill::data::Dataset;
use downhill::denoise::closed_form::ClosedForm;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::closed_form::mixture::Mixture;
use downhill::denoise::{Denoiser, Level};
use downhill::tensor::Tensor;
use faer::Mat;
use faer::prelude::Solve;

const IMAGE: [usize; 3] = [5, 1, 1];

/// Three Gaussians of five values; the covariance of the second has rank 2.
fn parts() -> Vec<(f64, Vec<f64>, Mat<f64>)> {
    let part = |seed: u32, share: f64, rank: usize, spread: f64| {
        let of = |seed: u32, len: usize| -> Vec<f64> { numbers(seed, len).into_iter().map(f64::from).collect() };
        let factors = of(seed + 10, 25);
        let factor = Mat::from_fn(5, rank, |row, column| spread * factors[row * 5 + column]);
        (share, of(seed, 5).into_iter().map(|value| 2.0 * value).collect(), &factor * factor.transpose())
    };
    vec![part(1, 0.5, 5, 1.0), part(2, 0.2, 2, 0.7), part(3, 0.3, 5, 0.3)]
}

/// The determinant of a positive definite matrix, by elimination.
fn determinant(matrix: &Mat<f64>) -> f64 {
    let mut rest = matrix.clone();
    let size = rest.nrows();
    let mut product = 1.0;
    for at in 0..size {
        product *= rest[(at, at)];
        for row in at + 1..size {
            let factor = rest[(row, at)] / rest[(at, at)];
            for column in at..size {
                rest[(row, column)] -= factor * rest[(at, column)];
            }
        }
    }
    product
}

/// Log density and posterior mean, from whole matrices.
fn reference(parts: &[(f64, Vec<f64>, Mat<f64>)], x: &[f64], sigma: f64) -> (f64, Vec<f64>) {
    let size = x.len();
    let mut found = Vec::new();
    for (share, mean, covariance) in parts {
        let total = covariance + sigma * sigma * Mat::<f64>::identity(size, size);
        let centred = Mat::from_fn(size, 1, |at, _| x[at] - mean[at]);
        let solved = total.partial_piv_lu().solve(&centred);
        let square = (centred.transpose() * &solved)[(0, 0)];
        let log = share.ln() - 0.5 * (square + determinant(&total).ln() + size as f64 * std::f64::consts::TAU.ln());
        let kept = covariance * &solved;
        found.push((log, (0..size).map(|at| mean[at] + kept[(at, 0)]).collect::<Vec<f64>>()));
    }
    let most = found.iter().map(|(log, _)| *log).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = found.iter().map(|(log, _)| (log - most).exp()).sum();
    let mean = (0..size).map(|at| found.iter().map(|(log, mean)| (log - most).exp() / total * mean[at]).sum());
    (most + total.ln(), mean.collect())
}

#[test]
fn a_mixture_is_that_of_whole_matrices_at_every_level() {
    let parts = parts();
    let mut mixture = Mixture::of_moments(&parts, IMAGE).unwrap();
    assert!((mixture.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    for sigma in [0.05, 0.2, 1.0, 4.0, 50.0] {
        let x = Tensor::new([8, 5, 1, 1], numbers(7, 40).into_iter().map(|v| v * (2.0 + sigma as f32)).collect());
        let eps = mixture.eps(&x, &Level::each(&[sigma; 8])).unwrap();
        for at in 0..8 {
            let image: Vec<f64> = x.item(at).iter().map(|value| f64::from(*value)).collect();
            let (log_density, mean) = reference(&parts, &image, sigma);
            let found = mixture.prediction(&image, sigma);
            let scale = image.iter().fold(1.0f64, |most, value| most.max(value.abs()));
            for axis in 0..5 {
                assert!((found[axis] - mean[axis]).abs() < 1e-9 * scale, "sigma {sigma}: {found:?}, {mean:?}");
                let expected = (image[axis] - mean[axis]) / sigma;
                assert!((f64::from(eps.item(at)[axis]) - expected).abs() < 1e-6 * (1.0 + expected.abs()));
            }
            let found = mixture.log_density(&image, sigma);
            assert!((found - log_density).abs() < 1e-9 * log_density.abs().max(1.0), "{found}, {log_density}");
        }
    }
}

/// The score, -eps / sigma, is the gradient of the logarithm of the density: by central differences.
#[test]
fn eps_is_the_gradient_of_the_log_density() {
    let mixture = Mixture::of_moments(&parts(), IMAGE).unwrap();
    for sigma in [0.1, 0.5, 2.0, 20.0] {
        let x: Vec<f64> = numbers(11, 5).into_iter().map(|value| 3.0 * f64::from(value)).collect();
        let prediction = mixture.prediction(&x, sigma);
        for axis in 0..5 {
            let step = 1e-4 * sigma;
            let moved = |by: f64| {
                let mut x = x.clone();
                x[axis] += by;
                mixture.log_density(&x, sigma)
            };
            let gradient = (moved(step) - moved(-step)) / (2.0 * step);
            let score = (prediction[axis] - x[axis]) / (sigma * sigma);
            assert!((gradient - score).abs() < 1e-5 * (1.0 + score.abs()), "sigma {sigma}: {gradient}, {score}");
        }
    }
}

#[test]
fn the_limits_are_the_nearest_component_and_the_mean() {
    let parts = parts();
    let mixture = Mixture::of_moments(&parts, IMAGE).unwrap();
    // A point of a component whose covariance is whole stays where it is.
    let x: Vec<f64> = parts[0].1.iter().map(|value| value + 0.1).collect();
    let found = mixture.prediction(&x, 1e-6);
    assert!(x.iter().zip(&found).all(|(x, found)| (x - found).abs() < 1e-6), "{found:?}");
    // Under much noise all count by their shares.
    let found = mixture.prediction(&[3.0, -2.0, 0.0, 1.0, 0.5], 1e6);
    for axis in 0..5 {
        let mean: f64 = parts.iter().map(|(share, mean, _)| share * mean[axis]).sum();
        assert!((found[axis] - mean).abs() < 1e-5, "{found:?}");
    }
    // Points without extent are an ideal denoiser: the nearest point under little noise.
    let points = [[0.0; 5], [1.0; 5]].map(|point| (0.5, point.to_vec(), Mat::zeros(5, 5)));
    let mixture = Mixture::of_moments(&points, IMAGE).unwrap();
    let found = mixture.prediction(&[0.7, 0.6, 0.6, 0.7, 0.6], 0.01);
    assert!(found.iter().all(|value| (value - 1.0).abs() < 1e-12), "{found:?}");
}

fn data() -> Dataset {
    let numbers = numbers(5, 60 * 5);
    let values = numbers.chunks(5).enumerate().flat_map(|(at, sample)| {
        let far = if at % 3 == 0 { 30.0 } else { 0.0 };
        sample.iter().map(move |value| value + far).collect::<Vec<_>>()
    });
    Dataset::new("data", Tensor::new([60, 5], values.collect())).unwrap()
}

#[test]
fn of_one_component_it_is_the_wiener_filter() {
    let data = data();
    let mut centred = data.clone();
    let mean = centred.centre();
    let mut wiener = Linear::wiener(&centred, &mean, IMAGE).unwrap();
    let mut mixture = Mixture::of_clusters(&data, 1, None, 3, IMAGE).unwrap();
    let x = Tensor::new([4, 5, 1, 1], numbers(2, 20));
    let levels = Level::each(&[0.03, 0.5, 3.0, 40.0]);
    let (a, b) = (mixture.eps(&x, &levels).unwrap(), wiener.eps(&x, &levels).unwrap());
    assert!(a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() <= 2e-6 * (1.0 + b.abs())), "{a:?} {b:?}");
}

/// A rank keeps the leading variances and the total.
#[test]
fn clusters_become_components() {
    let data = data();
    let whole = Mixture::of_clusters(&data, 2, None, 0, IMAGE).unwrap();
    let mut shares = whole.shares();
    shares.sort_by(f64::total_cmp);
    assert!((shares[0] - 1.0 / 3.0).abs() < 1e-12 && (shares[1] - 2.0 / 3.0).abs() < 1e-12, "{shares:?}");
    // Near the far cluster only that one counts: its mean, under noise much larger than it but below the distance.
    let far: Vec<usize> = (0..60).step_by(3).collect();
    let mean = |axis: usize| far.iter().map(|at| f64::from(data.samples.item(*at)[axis])).sum::<f64>() / 20.0;
    let x = vec![30.0; 5];
    let spherical = Mixture::of_clusters(&data, 2, Some(0), 0, IMAGE).unwrap();
    for (mixture, sigma, tolerance) in [(&whole, 3.0, 0.1), (&spherical, 3.0, 0.1)] {
        let found = mixture.prediction(&x, sigma);
        assert!((0..5).all(|axis| (found[axis] - mean(axis)).abs() < tolerance), "{found:?}");
    }
    // Of rank 0 all directions have the mean variance: the prediction moves towards the mean by one factor.
    let variance = |axis: usize| {
        far.iter().map(|at| (f64::from(data.samples.item(*at)[axis]) - mean(axis)).powi(2)).sum::<f64>() / 20.0
    };
    let shared = (0..5).map(variance).sum::<f64>() / 5.0;
    let found = spherical.prediction(&x, 0.4);
    for axis in 0..5 {
        let expected = mean(axis) + shared / (shared + 0.16) * (x[axis] - mean(axis));
        assert!((found[axis] - expected).abs() < 1e-6, "{found:?}, {expected}");
    }
    let all = Mixture::of_clusters(&data, 2, Some(5), 0, IMAGE).unwrap();
    assert_eq!(all.prediction(&x, 0.4), whole.prediction(&x, 0.4));
}

#[test]
fn names_open_mixtures_and_gaussians() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.npy").display().to_string();
    downhill::formats::npy::write(&file, &data().samples).unwrap();
    let open = |text: &str| ClosedForm::open(text).unwrap().unwrap();
    let engine = &crate::common::engines()[0];
    let x = Tensor::new([2, 5, 1, 1], numbers(3, 10));
    let levels = Level::each(&[0.3, 3.0]);
    let eps = |text: &str| open(text).ready(engine).unwrap().eps(&x, &levels).unwrap();
    assert_eq!(eps(&format!("gaussian:{file}")), eps(&format!("wiener:{file}")));
    let mixture = eps(&format!("mixture:{file},k=2,seed=3"));
    let direct = Mixture::of_clusters(&data(), 2, None, 3, IMAGE).unwrap().eps(&x, &levels).unwrap();
    assert_eq!(mixture, direct);
    let json = open(&format!("mixture:{file},k=2,rank=3")).json();
    assert_eq!((&json["closed_form"], &json["components"]), (&"mixture".into(), &2.into()));
    assert_eq!((&json["mixture"]["rank"], &json["mixture"]["seed"]), (&3.into(), &0.into()));
    for (text, part) in [("k=61", "more Gaussians than the 60 samples"), ("k=2,rank=6", "more variances than the 5")] {
        let error = ClosedForm::open(&format!("mixture:{file},{text}")).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
}
