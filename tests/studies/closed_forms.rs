//! Denoisers beside closed forms, where the distances are known: Gaussians of other variances, a local closed form
//! beside itself.

use crate::common::{engines, numbers};
use downhill::data::Dataset;
use downhill::denoise::Level;
use downhill::denoise::closed_form::ideal::Ideal;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::closed_form::local::Local;
use downhill::denoise::closed_form::{Boundary, LocalOptions};
use downhill::sample::schedule::{Schedule, StartNoise};
use downhill::sample::solvers::descent::Descent;
use downhill::sample::walk::Method;
use downhill::study::error::OnImages;
use downhill::study::gaussian::departure;
use downhill::study::local::samples;
use downhill::study::parts::Shard;
use downhill::study::predictions::{Reference, predictions};
use downhill::study::trajectories::Trajectories;
use downhill::tensor::Tensor;
use faer::Mat;

fn on<'a>(images: &'a Tensor, levels: &'a [Level], batch: usize, seed: u64) -> OnImages<'a> {
    OnImages { images, levels, batch, seed, shard: Shard::WHOLE }
}

const SIZE: usize = 6;

/// A Gaussian about zero, of one variance along every axis.
fn gaussian(variance: f64) -> Linear {
    Linear::of_moments(&[0.0; SIZE], &(variance * Mat::<f64>::identity(SIZE, SIZE)), [SIZE, 1, 1]).unwrap()
}

fn falling(high: f64, low: f64, steps: usize) -> Schedule {
    let sigmas: Vec<f64> = (0..=steps).map(|step| high * (low / high).powf(step as f64 / steps as f64)).collect();
    Schedule::from_sigmas(&sigmas).unwrap().starting(StartNoise::Sigma)
}

/// eps = sigma x / (lambda + sigma^2), so that the unexplained share does not depend on x.
#[test]
fn distances_between_gaussians_are_those_of_their_factors() {
    let named = |name: &str, variance: f64| Reference { name: name.into(), denoiser: Box::new(gaussian(variance)) };
    let mut references = vec![named("same", 4.0), named("other", 1.0)];
    let images = Tensor::new([5, SIZE, 1, 1], numbers(2, 5 * SIZE));
    let levels = Level::each(&[20.0, 2.0, 0.3]);
    let found = predictions(&mut gaussian(4.0), &mut references, &on(&images, &levels, 2, 7), &|_| {}).unwrap();
    for (at, level) in levels.iter().enumerate() {
        let noise = level.sigma * level.sigma;
        let expected = ((4.0 + noise) / (1.0 + noise) - 1.0).powi(2);
        for image in 0..5 {
            let (same, other) = (&found.references[0], &found.references[1]);
            assert_eq!((same.apart.at(at)[image], same.unexplained.at(at)[image]), (0.0, 0.0));
            assert_eq!(same.error.at(at)[image], found.error.at(at)[image]);
            let share = other.unexplained.at(at)[image];
            assert!((share / expected - 1.0).abs() < 1e-4, "sigma {}: {share}, expected {expected}", level.sigma);
        }
    }
    // The distance from the clean image, over the noise: all of it under little noise.
    let error = found.error.at(2)[0];
    assert!(error > 0.05 && error < 0.8, "{error}");
    assert_eq!(found.best(2), [0, 0, 0]);
}

#[test]
fn trajectories_leave_a_gaussian_by_the_ratio_of_their_flows() {
    let (schedule, method) = (falling(10.0, 0.05, 300), Method::new(Descent::DDIM));
    let walk = Trajectories {
        schedule: &schedule,
        method: &method,
        count: 4,
        batch: 3,
        seed: 1,
        mean: None,
        shard: Shard::WHOLE,
    };
    let spread = (SIZE as f64).sqrt();
    let found = departure(&mut gaussian(4.0), &gaussian(1.0), &walk, spread, &|_| {}).unwrap();
    let factor = |variance: f64, sigma: f64| ((variance + sigma * sigma) / (variance + 100.0)).sqrt();
    // The norms of the start states, from the last level.
    let last = schedule.steps().len() - 1;
    let end = schedule.end().sigma;
    for image in 0..4 {
        let start = found.walked.at(last)[image] / (factor(4.0, end) - factor(1.0, end)).abs();
        for at in [50, 150, 250] {
            let sigma = schedule.steps()[at].to.sigma;
            let expected = start * (factor(4.0, sigma) - factor(1.0, sigma)).abs();
            let distance = found.walked.at(at)[image];
            assert!((distance / expected - 1.0).abs() < 0.05, "sigma {sigma}: {distance}, expected {expected}");
        }
        assert!(found.own.at(last)[image] < 0.01 * found.walked.at(last)[image]);
    }
    let leaves = found.sigma().unwrap();
    assert!(leaves > 0.5 && leaves < 10.0, "{leaves}");
    // A Gaussian does not leave itself.
    assert_eq!(departure(&mut gaussian(1.0), &gaussian(1.0), &walk, spread, &|_| {}).unwrap().sigma(), None);
}

#[test]
fn a_local_denoiser_is_its_own_best_prediction() {
    let image = [1, 6, 6];
    let values = numbers(4, 30 * 36).into_iter().map(|value| if value < 0.0 { -1.0 } else { value }).collect();
    let data = Dataset::new("data", Tensor::new([30, 6, 6], values)).unwrap();
    let engine = &engines()[0];
    let local = |patch: usize| {
        Local::new(engine, data.clone(), &LocalOptions { patch, boundary: Boundary::Padded, samples: None }, image)
            .unwrap()
    };
    let mut references = vec![
        Reference { name: "local 5".into(), denoiser: Box::new(local(5)) },
        Reference { name: "local 3".into(), denoiser: Box::new(local(3)) },
        Reference {
            name: "ideal".into(),
            denoiser: Box::new(Ideal::new(engine, data.clone(), data.mean(), image).unwrap()),
        },
    ];
    let images = Tensor::new([4, 1, 6, 6], data.samples.slice(0..4).data);
    let levels = Level::each(&[2.0, 0.6, 0.2]);
    let found = predictions(&mut local(3), &mut references, &on(&images, &levels, 4, 3), &|_| {}).unwrap();
    assert_eq!(found.best(2), [1, 1, 1]);
    let (schedule, method) = (falling(3.0, 0.1, 8), Method::new(Descent::DDIM));
    let walk = Trajectories {
        schedule: &schedule,
        method: &method,
        count: 4,
        batch: 4,
        seed: 1,
        mean: None,
        shard: Shard::WHOLE,
    };
    let likeness = samples(&mut local(3), &mut references, &found, 2, &walk, &|_| {}).unwrap();
    let names: Vec<&str> = likeness.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["local 5", "local 3", "ideal", "best"]);
    for at in 0..4 {
        assert!(likeness[1].same[at] > 1.0 - 1e-9 && likeness[3].same[at] > 1.0 - 1e-9);
        assert!(likeness[0].same[at] < 0.999 && likeness[1].other[at] < 0.9, "{likeness:?}");
    }
}
