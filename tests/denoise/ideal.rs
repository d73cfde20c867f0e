//! The ideal denoiser as geometry: its smoothed distance, of which it answers the gradient, and the exact projection on
//! the data, which it becomes without noise.

use crate::common::{engines, numbers};
use downhill::data::{Dataset, Pixels, digits};
use downhill::denoise::closed_form::ideal::Ideal;
use downhill::denoise::closed_form::neighbours::{Neighbour, Neighbours};
use downhill::denoise::{Denoiser, Level};
use downhill::tensor::Tensor;

fn data(seed: u32, count: usize, dimension: usize) -> Dataset {
    Dataset::new("data", Tensor::new([count, dimension], numbers(seed, count * dimension))).unwrap()
}

fn square(x: &[f32], k: &[f32]) -> f64 {
    x.iter().zip(k).map(|(x, k)| (f64::from(*x) - f64::from(*k)).powi(2)).sum()
}

/// `-2 sigma^2 log sum_k exp(-|x - k|^2 / (2 sigma^2))`, everything in float64.
fn reference(data: &Dataset, x: &[f32], sigma: f64) -> f64 {
    let squares: Vec<f64> = (0..data.count()).map(|at| square(x, data.samples.item(at))).collect();
    let least = squares.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = squares.iter().map(|square| ((least - square) / (2.0 * sigma * sigma)).exp()).sum();
    least - 2.0 * sigma * sigma * sum.ln()
}

/// Few samples, which are weighed in float64, and so many that float32 weighs them all.
#[test]
fn the_smoothed_distance_is_that_of_float64() {
    for (data, count) in [(data(1, 40, 6), 3), (data(2, 70_001, 16), 2)] {
        for engine in engines() {
            let ideal = Ideal::new(engine, data.clone(), data.mean(), [data.dimension(), 1, 1]).unwrap();
            let x = Tensor::new([count, data.dimension()], numbers(9, count * data.dimension()));
            for sigma in [0.01, 0.1, 1.0, 10.0, 100.0] {
                let found = ideal.smoothed_squared_distance(&x, &vec![sigma; count]).unwrap();
                for (at, found) in found.into_iter().enumerate() {
                    let expected = reference(&data, x.item(at), sigma);
                    let scale = expected.abs().max(1e-3);
                    assert!((found - expected).abs() < 2e-5 * scale, "sigma {sigma}: {found}, expected {expected}");
                }
            }
        }
    }
}

/// The identity of the paper in its corrected form: half the gradient of dist^2(x, sigma) is sigma eps(x, sigma). By
/// central differences; without the 2 the gradient would be half of what it is.
#[test]
fn half_the_gradient_of_the_smoothed_distance_is_sigma_eps() {
    let data = data(3, 30, 5);
    let mut ideal = Ideal::new(&engines()[0], data.clone(), data.mean(), [5, 1, 1]).unwrap();
    for sigma in [0.1, 0.4, 1.5] {
        let step = 1.0 / 256.0;
        let x: Vec<f32> = numbers(7, 5).into_iter().map(|value| (value * 256.0).round() / 256.0).collect();
        let mut moved = Vec::new();
        for at in 0..5 {
            for sign in [1.0, -1.0] {
                let mut x = x.clone();
                x[at] += sign * step;
                moved.extend(x);
            }
        }
        let squares = ideal.smoothed_squared_distance(&Tensor::new([10, 5, 1, 1], moved), &[sigma; 10]).unwrap();
        let eps = ideal.eps(&Tensor::new([1, 5, 1, 1], x), &[Level::at_sigma(sigma)]).unwrap();
        let size = eps.data.iter().map(|eps| f64::from(*eps).powi(2)).sum::<f64>().sqrt();
        for (pair, eps) in squares.chunks_exact(2).zip(&eps.data) {
            let gradient = (pair[0] - pair[1]) / (2.0 * f64::from(step));
            let off = (0.5 * gradient / sigma - f64::from(*eps)).abs() / size;
            assert!(off < 2e-3 / sigma.min(1.0), "sigma {sigma}: half of {gradient} over sigma, expected {eps}");
        }
    }
}

#[test]
fn without_noise_the_smoothed_distance_is_that_to_the_nearest_sample() {
    let data = data(4, 300, 12);
    let ideal = Ideal::new(&engines()[0], data.clone(), data.mean(), [12, 1, 1]).unwrap();
    let x = Tensor::new([70, 12], numbers(5, 70 * 12));
    let smoothed = ideal.smoothed_squared_distance(&x, &[1e-4; 70]).unwrap();
    let nearest = ideal.samples().project(&x).unwrap();
    for (smoothed, nearest) in smoothed.into_iter().zip(nearest) {
        assert!((smoothed.max(0.0).sqrt() - nearest.distance).abs() < 1e-6, "{smoothed}, {nearest:?}");
    }
}

/// By brute force in float64, more images than a block holds, and samples that lie twice in the data.
#[test]
fn the_nearest_samples_are_found_exactly() {
    let mut values = numbers(6, 999 * 33);
    values.copy_within(0..33, 33);
    let data = Dataset::new("data", Tensor::new([999, 33], values)).unwrap();
    let mut images = numbers(8, 70 * 33);
    images[..33].copy_from_slice(data.samples.item(1));
    // Far away all samples look alike to float32.
    images[33..66].iter_mut().for_each(|value| *value *= 300.0);
    let x = Tensor::new([70, 33], images);
    for engine in engines() {
        let neighbours = Neighbours::new(engine, data.clone(), data.mean()).unwrap();
        for count in [1, 4, 5000] {
            let found = neighbours.nearest(&x, count).unwrap();
            for (at, found) in found.iter().enumerate() {
                let mut expected: Vec<(f64, usize)> =
                    (0..999).map(|k| (square(x.item(at), data.samples.item(k)), k)).collect();
                expected.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert_eq!(found.len(), count.min(999));
                for (place, Neighbour { sample, distance }) in found.iter().enumerate() {
                    let (least, _) = expected[place];
                    assert!((distance - least.sqrt()).abs() <= 1e-12 * least.sqrt(), "image {at}, place {place}");
                    let own = square(x.item(at), data.samples.item(*sample));
                    assert!((distance - own.sqrt()).abs() <= 1e-12 * own.sqrt(), "the distance is that of the sample");
                }
            }
            assert_eq!(found[0][0], Neighbour { sample: 0, distance: 0.0 });
        }
    }
}

/// At little noise the prediction is the nearest sample.
#[test]
fn the_ideal_denoiser_becomes_the_projection() {
    let data = digits(Pixels::Signed).unwrap();
    let mut ideal = Ideal::new(&engines()[0], data.clone(), data.mean(), [1, 28, 28]).unwrap();
    let mut x = data.samples.slice(100..140);
    x.data.iter_mut().zip(numbers(3, 40 * 784)).for_each(|(x, noise)| *x += 0.2 * noise);
    let x = Tensor::new([40, 1, 28, 28], x.data);
    let sigma = 0.05;
    let eps = ideal.eps(&x, &[Level::at_sigma(sigma); 40]).unwrap();
    for (at, nearest) in ideal.samples().project(&x).unwrap().into_iter().enumerate() {
        assert_eq!(nearest.sample, 100 + at);
        let x0 = x.item(at).iter().zip(eps.item(at)).map(|(x, eps)| x - sigma as f32 * eps);
        let apart = x0.zip(data.samples.item(nearest.sample)).map(|(x0, k)| (x0 - k).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "image {at}: {apart:e}");
    }
}
