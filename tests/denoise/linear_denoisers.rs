//! The denoisers of linear diffusion through the ordinary sampler: the sequential chain against its closed form,
//! projections of noisy samples against projections of samples that are made noisy here.

use crate::common::{distance, engines, numbers};
use downhill::data::{Coupling, Dataset, Noised, Spiked};
use downhill::denoise::closed_form::ClosedForm;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::closed_form::noisy::NoisyProjection;
use downhill::denoise::closed_form::sequential::Sequential;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::schedule::Schedule;
use downhill::sample::solvers::descent::Descent;
use downhill::sample::walk::{Method, sample};
use downhill::tensor::Tensor;
use faer::Mat;

fn ddim() -> Method {
    Method::new(Descent::DDIM)
}

fn walked(denoiser: &mut dyn Denoiser, sigmas: &[f64], x: Tensor) -> Tensor {
    let schedule = Schedule::from_sigmas(sigmas).unwrap();
    sample(denoiser, &schedule, &ddim(), x, &mut |_| unreachable!("DDIM adds none"), &mut |_| Ok(())).unwrap()
}

/// `Sigma (Sigma + s_T^2 I)^-1`, whatever the levels between.
#[test]
fn the_sequential_chain_telescopes() {
    let variances = [9.0, 2.0, 0.5, 0.03, 0.0];
    let mean = [1.0, -2.0, 0.0, 3.0, 0.5];
    let covariance = Mat::from_fn(5, 5, |i, j| if i == j { variances[i] } else { 0.0 });
    let filter = Linear::of_moments(&mean, &covariance, [5, 1, 1]).unwrap();
    let start = [4.0f32, 3.0, -2.0, 1.0, 5.0];
    let mut ends = Vec::new();
    for steps in [1, 3, 10, 200] {
        let sigmas: Vec<f64> = (0..=steps).rev().map(|at| 3.0 * f64::from(at) / f64::from(steps)).collect();
        let x = (0..5).map(|at| mean[at] as f32 + start[at]).collect::<Vec<_>>();
        let end = walked(&mut Sequential::new(filter.clone()), &sigmas, Tensor::new([1, 5, 1, 1], x));
        for (at, variance) in variances.iter().enumerate() {
            let gain = (f64::from(end.data[at]) - mean[at]) / f64::from(start[at]);
            assert!((gain - variance / (variance + 9.0)).abs() < 2e-6, "{steps} steps, {variance}: {gain}");
        }
        ends.push(end);
    }
    // The Wiener filter's own walk tends to the root of it instead.
    let sigmas: Vec<f64> = (0..=2000).rev().map(|at| 3.0 * f64::from(at) / 2000.0).collect();
    let x = (0..5).map(|at| mean[at] as f32 + start[at]).collect::<Vec<_>>();
    let end = walked(&mut filter.clone(), &sigmas, Tensor::new([1, 5, 1, 1], x));
    let gain = (f64::from(end.data[0]) - mean[0]) / f64::from(start[0]);
    assert!((gain - (9.0f64 / 18.0).sqrt()).abs() < 1e-3, "{gain}");
}

/// Without a walk the next level is 0.
#[test]
fn alone_the_sequential_filter_is_the_wiener_filter() {
    let covariance = Mat::from_fn(3, 3, |i, j| if i == j { 1.0 + i as f64 } else { 0.0 });
    let mut filter = Linear::of_moments(&[0.0; 3], &covariance, [3, 1, 1]).unwrap();
    let mut sequential = Sequential::new(filter.clone());
    let x = Tensor::new([2, 3, 1, 1], numbers(1, 6));
    let wiener = filter.eps(&x, &Level::each(&[0.5, 2.0])).unwrap();
    assert_eq!(sequential.eps(&x, &Level::each(&[0.5, 2.0])).unwrap(), wiener);
    sequential.begin(&Level::each(&[0.0, 1.0, 2.0]));
    let told = sequential.eps(&x, &Level::each(&[0.5, 2.0])).unwrap();
    assert_eq!(told.item(0), wiener.item(0));
    let twice = |at: usize| (f64::from(told.item(1)[at]) / f64::from(wiener.item(1)[at]) - 1.5).abs();
    assert!((0..3).all(|at| twice(at) < 1e-6));
}

fn centred(samples: usize) -> Dataset {
    let model = Spiked { samples, dimension: 40, spikes: vec![9.0, 6.0, 4.0], noise: 0.1, seed: 2 };
    let mut data = model.generate().unwrap();
    data.centre();
    data
}

/// What is left of `x` by a projection is what is left by that of samples under the same noise.
#[test]
fn a_noisy_projection_is_that_of_noisy_samples() {
    let engine = &engines()[0];
    let data = centred(300);
    let (image, mean) = ([40, 1, 1], vec![0.5; 40]);
    let levels = [0.0, 0.4, 1.0, 3.0];
    let x = Tensor::new([1, 40, 1, 1], numbers(3, 40));
    for coupling in Coupling::ALL {
        let noise = Noised { coupling, seed: 7 };
        let mut expected = Vec::new();
        noise
            .each(&data.samples, &levels[1..], &mut |at, samples| {
                let noisy = Dataset { samples, ..data.clone() };
                let mut projection = Linear::projection(engine, &noisy, &mean, 3, image).unwrap();
                expected.push(projection.eps(&x, &Level::each(&[levels[at + 1]])).unwrap());
                Ok(())
            })
            .unwrap();
        let mut noisy = NoisyProjection::new(engine, data.clone(), mean.clone(), 3, image, noise);
        noisy.begin(&Level::each(&levels));
        // In any order, and again.
        for at in [2, 0, 1, 2] {
            let eps = noisy.eps(&x, &Level::each(&[levels[at + 1]])).unwrap();
            let apart = distance(&eps.data, &expected[at].data);
            assert!(apart < 1e-4, "{coupling}, level {at}: {apart:e}");
        }
        if coupling != Coupling::Nested {
            let mut alone = NoisyProjection::new(engine, data.clone(), mean.clone(), 3, image, noise);
            assert_eq!(
                alone.eps(&x, &Level::each(&[1.0])).unwrap(),
                noisy.eps(&x, &Level::each(&[1.0])).unwrap(),
                "{coupling}"
            );
        }
    }
}

/// One draw of noise turns the components less and less as it shrinks, so that projections one after the other keep
/// what fresh noise at each level wears off.
#[test]
fn fresh_noise_wears_components_off_where_shared_noise_keeps_them() {
    let engine = &engines()[0];
    let data = centred(120);
    let sigmas: Vec<f64> = (1..=30).rev().map(|at| (f64::from(at) * 0.15f64).sqrt()).collect();
    let kept = |coupling| {
        let noise = Noised { coupling, seed: 1 };
        let mut noisy = NoisyProjection::new(engine, data.clone(), vec![0.0; 40], 3, [40, 1, 1], noise);
        noisy.begin(&Level::each(&sigmas));
        let start = Tensor::new([1, 40, 1, 1], numbers(5, 40));
        let mut project = |x: &Tensor, sigma: f64| {
            let eps = noisy.eps(x, &Level::each(&[sigma])).unwrap();
            let data = x.data.iter().zip(&eps.data).map(|(x, eps)| (f64::from(*x) - sigma * f64::from(*eps)) as f32);
            Tensor::new(x.shape.clone(), data.collect())
        };
        let length = |x: &Tensor| x.data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let start = project(&start, sigmas[0]);
        let end = sigmas.iter().fold(start.clone(), |x, sigma| project(&x, *sigma));
        length(&end) / length(&start)
    };
    let [nested, fresh, shared] = Coupling::ALL.map(kept);
    assert!(fresh < 0.5 * nested && nested < shared && shared > 0.8, "{nested} {fresh} {shared}");
}

#[test]
fn the_command_line_names_them() {
    let engine = &engines()[0];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.npy").display().to_string();
    downhill::formats::npy::write(&file, &Tensor::new([50, 6], numbers(1, 300))).unwrap();
    let open = |text: &str| ClosedForm::open(text).unwrap().unwrap();
    let x = Tensor::new([1, 6, 1, 1], numbers(2, 6));
    for (text, kind, coupling) in [
        (format!("pca:{file},k=2,noise=fresh,n=30,seed=4"), "pca", Some("fresh")),
        (format!("pca:{file},k=2,n=30"), "pca", None),
        (format!("sequential:{file}"), "sequential", None),
    ] {
        let form = open(&text);
        let json = form.json();
        assert_eq!((&json["closed_form"], json["noise"]["coupling"].as_str()), (&kind.into(), coupling), "{text}");
        assert_eq!(json["samples"], if kind == "pca" { 30 } else { 50 });
        let answer = form.ready(engine).unwrap().eps(&x, &Level::each(&[0.5])).unwrap();
        assert!(answer.is_finite() && answer.shape == x.shape);
    }
    let error = ClosedForm::open(&format!("pca:{file},n=51")).err().unwrap();
    assert!(
        error.kind() == downhill::ErrorKind::Argument && error.to_string().contains("more samples than the 50"),
        "{error}"
    );
}
