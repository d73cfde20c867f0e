//! The studies of denoisers: what they measure, where it is known beforehand.

use crate::common::{engines, numbers};
use std::sync::Arc;

use downhill::Result;
use downhill::data::{Dataset, Pixels, digits};
use downhill::denoise::closed_form::ideal::Ideal;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::closed_form::neighbours::Neighbours;
use downhill::denoise::{Denoiser, Level};
use downhill::noise::Purpose;
use downhill::noise::philox::normals;
use downhill::sample::schedule::{Schedule, StartNoise};
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Method, Solver, sample};
use downhill::study::constancy::{constancy, share_below};
use downhill::study::dimension::{Extent, local_extents, spectrum, two_nearest};
use downhill::study::error::{OnImages, errors_on_images};
use downhill::study::error_model::{curve, fit, measure};
use downhill::study::manifolds::{Manifold, examine};
use downhill::study::metric;
use downhill::study::norms::along_trajectories;
use downhill::study::parts::Shard;
use downhill::study::projection::projections;
use downhill::study::statistics::quantile;
use downhill::study::trajectories::Trajectories;
use downhill::tensor::Tensor;
use faer::Mat;

/// Values of an image, and of these the normal ones: the data are the subspace where they are zero.
const SIZE: usize = 24;
const NORMAL: usize = 18;

fn ddim() -> Method {
    Method::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) })
}

fn falling(high: f64, low: f64, steps: usize) -> Schedule {
    let sigmas: Vec<f64> = (0..=steps).map(|step| high * (low / high).powf(step as f64 / steps as f64)).collect();
    Schedule::from_sigmas(&sigmas).unwrap().starting(StartNoise::Sigma)
}

fn walk<'a>(schedule: &'a Schedule, method: &'a Method, count: usize) -> Trajectories<'a> {
    Trajectories { schedule, method, count, batch: 5, seed: 3, mean: None, shard: Shard::WHOLE }
}

/// Projects on the subspace; the answer is off by `error` of the distance, along the first normal direction and
/// another.
struct OnSubspace {
    error: f64,
}

impl Denoiser for OnSubspace {
    fn image_shape(&self) -> [usize; 3] {
        [SIZE, 1, 1]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let mut eps = x.clone();
        for (eps, sigma) in eps.data.chunks_exact_mut(SIZE).zip(Level::sigmas(levels)) {
            let far = eps[..NORMAL].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            eps[NORMAL..].fill(0.0);
            eps[SIZE - 1] = (self.error * far) as f32;
            for value in eps.iter_mut() {
                *value = (f64::from(*value) / sigma) as f32;
            }
        }
        Ok(eps)
    }
}

#[test]
fn norms_are_those_of_the_noise_normal_to_a_subspace() {
    let (schedule, method) = (falling(10.0, 0.1, 6), ddim());
    let mut calls = 0;
    let advance = std::cell::RefCell::new(&mut calls);
    let norms = along_trajectories(&mut OnSubspace { error: 0.0 }, &walk(&schedule, &method, 12), &|done| {
        **advance.borrow_mut() += done;
    })
    .unwrap();
    assert_eq!((norms.levels.len(), norms.images), (6, 12));
    for image in 0..12 {
        let noise = normals(3, image as u64, 0, SIZE);
        let expected = (noise[..NORMAL].iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / SIZE as f64).sqrt();
        for level in 0..6 {
            // The gradient is constant: the noise that was there at the start is there to the end.
            let found = norms.at(level)[image];
            assert!((found - expected).abs() < 1e-5, "level {level}, image {image}: {found}, {expected}");
        }
    }
    assert_eq!(calls, 72);
}

#[test]
fn errors_on_images_are_the_noise_within_the_data() {
    let images = Tensor::new([7, SIZE, 1, 1], {
        let mut values = numbers(1, 7 * SIZE);
        values.chunks_exact_mut(SIZE).for_each(|image| image[..NORMAL].fill(0.0));
        values
    });
    let levels = [4.0, 0.5].map(|sigma| Level { sigma, timestep: None });
    let mut denoiser = OnSubspace { error: 0.0 };
    let on = |images| OnImages { images, levels: &levels, batch: 3, seed: 11, shard: Shard::WHOLE };
    let errors = errors_on_images(&mut denoiser, &on(&images), &|_| {}).unwrap();
    for level in 0..2 {
        for image in 0..7 {
            let noise = Purpose::AddedNoise.normals(11, image as u64, level as u32, SIZE);
            let missed = noise[NORMAL..].iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
            let expected = (missed / SIZE as f64).sqrt();
            let found = errors.at(level)[image];
            assert!((found - expected).abs() < 1e-4, "level {level}, image {image}: {found}, {expected}");
        }
    }
    let other = Tensor::zeros([7, SIZE, 2, 1]);
    assert_eq!(
        errors_on_images(&mut denoiser, &on(&other), &|_| {}).unwrap_err().kind(),
        downhill::ErrorKind::Argument
    );
}

/// The paper's figure, on digits: no error without noise nor with much, a hump between, nu near 1 throughout, and ends
/// on the data.
#[test]
fn the_ideal_denoiser_is_a_projection_but_for_a_hump() {
    let data = digits(Pixels::Signed).unwrap().evenly(2000);
    let mean = data.mean();
    let engine = &engines()[0];
    let samples = Neighbours::new(engine, data.clone(), mean.clone()).unwrap();
    let mut ideal = Ideal::new(engine, data, mean.clone(), [1, 28, 28]).unwrap();
    let (schedule, method) = (falling(150.0, 0.02, 30), ddim());
    let walk = Trajectories { mean: Some(&mean), batch: 16, ..walk(&schedule, &method, 16) };
    let found = projections(&mut ideal, &walk, &samples, &|_| {}).unwrap();
    let median = |level: usize| {
        let mut values = found.relative_error.at(level).to_vec();
        values.sort_by(f64::total_cmp);
        values[8]
    };
    let hump = (0..30).max_by(|a, b| median(*a).total_cmp(&median(*b))).unwrap();
    let sigma = found.relative_error.levels[hump].sigma;
    assert!((1.5..12.0).contains(&sigma), "the hump is at sigma {sigma}");
    assert!((0.04..0.15).contains(&median(hump)), "{}", median(hump));
    assert!(median(0) < 0.01 && median(29) < 1e-4, "{}, {}", median(0), median(29));
    assert!(found.nu.values.iter().all(|nu| (0.8..1.25).contains(nu)));
    assert!(found.ends.iter().all(|end| *end < 0.03), "{:?}", found.ends);
}

#[test]
fn gradients_of_a_flat_distance_do_not_turn() {
    let (schedule, method) = (falling(10.0, 0.1, 8), ddim());
    let walk = walk(&schedule, &method, 6);
    let found = constancy(&mut OnSubspace { error: 0.0 }, &walk, None, 4, 0.05, &|_| {}).unwrap();
    assert!(found.along_trajectories.at(0).iter().all(|turn| turn.is_nan()), "nothing is before the first step");
    assert!(found.along_trajectories.values[6..].iter().all(|turn| *turn < 1e-5));
    assert_eq!((found.along_segments.len(), found.along_segments[0].levels.len()), (4, 4));
    assert!(found.along_segments.iter().all(|turns| turns.values.iter().all(|turn| turn.is_nan() || *turn < 1e-4)));
    assert_eq!(share_below(&found.along_trajectories.values, 0.1), 1.0);

    // Two samples: towards the plane between them the gradient turns, and the exact one jumps or stays.
    let data = Dataset::new("two", Tensor::new([2, 2], vec![1.0, 0.0, -1.0, 0.0])).unwrap();
    let engine = &engines()[0];
    let samples = Neighbours::new(engine, data.clone(), vec![0.0; 2]).unwrap();
    let mut ideal = Ideal::new(engine, data, vec![0.0; 2], [2, 1, 1]).unwrap();
    let schedule = falling(5.0, 0.05, 40);
    let walk = Trajectories { schedule: &schedule, ..walk };
    let found = constancy(&mut ideal, &walk, Some(&samples), 4, 0.05, &|_| {}).unwrap();
    let largest = |values: &[f64]| values.iter().copied().filter(|turn| !turn.is_nan()).fold(0.0, f64::max);
    assert!(largest(&found.along_trajectories.values) > 0.02);
    let exact = found.exact.unwrap();
    assert_eq!(exact.values.len(), found.along_trajectories.values.len());
    assert!(exact.values[6..].iter().all(|turn| (0.0..=2.0).contains(turn)));
}

/// A denoiser that errs by 0.2 of the distance is found to.
#[test]
fn an_error_model_is_found_again() {
    // No noise in the data's own directions, so that where a trajectory ends is its projection.
    let (schedule, method) = (falling(10.0, 0.01, 12), ddim());
    let walk = walk(&schedule, &method, 10);
    let data = Dataset::new("origin", Tensor::zeros([1, SIZE])).unwrap();
    let points = measure(&mut Origin, &walk, None, (0.01, 10.0), &|_| {}).unwrap();
    assert!(points.iter().all(|point| point.error < 2e-3), "the end is the projection, but for the last sigma");
    let samples = Neighbours::new(&engines()[0], data, vec![0.0; SIZE]).unwrap();
    let points = measure(&mut Shrunk, &walk, Some(&samples), (0.01, 10.0), &|_| {}).unwrap();
    assert!(points.len() > 10 * 12 * 4, "asked at other noise, too: {}", points.len());
    assert!(points.iter().all(|point| (point.error - 0.2).abs() < 1e-5));
    let curve = curve(&points, 1.0);
    let model = fit(&curve).unwrap();
    assert!((model.eta() - 0.2).abs() < 1e-5 && model.nu() > 1.5, "{model:?}");
    // What is promised of a schedule holds on trajectories of this denoiser.
    let sigmas: Vec<f64> = schedule.levels().iter().map(|level| level.sigma).collect();
    let bounds = model.bounds(&sigmas).unwrap();
    let first = std::cell::Cell::new(f64::NAN);
    let norm = |x: &[f32]| x.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let single = Trajectories { count: 1, ..walk };
    single
        .walk(&mut Shrunk, &|_| {}, &mut |_, _, progress| {
            if progress.index == 0 {
                first.set(norm(&progress.before.data));
            }
            let ratio = norm(&progress.x.data) / first.get();
            let bound = bounds[progress.index];
            assert!(ratio >= bound.least - 1e-6 && ratio <= bound.most + 1e-6, "{ratio}, {bound:?}");
            Ok(())
        })
        .unwrap();
}

/// The projection on the origin.
struct Origin;

impl Denoiser for Origin {
    fn image_shape(&self) -> [usize; 3] {
        [SIZE, 1, 1]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let values = x.data.chunks_exact(SIZE).zip(Level::sigmas(levels));
        let eps = values.flat_map(|(x, sigma)| x.iter().map(|x| (f64::from(*x) / sigma) as f32).collect::<Vec<_>>());
        Ok(Tensor::new(x.shape.clone(), eps.collect()))
    }
}

/// Four fifths of the gradient of the distance to the origin.
struct Shrunk;

impl Denoiser for Shrunk {
    fn image_shape(&self) -> [usize; 3] {
        Origin.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let mut eps = Origin.eps(x, levels)?;
        eps.data.iter_mut().for_each(|value| *value *= 0.8);
        Ok(eps)
    }
}

/// Data of a known dimension within 40 values: a subspace, turned and with a little bend.
fn cloud(dimension: usize, count: usize) -> Dataset {
    let map = numbers(17, 40 * dimension);
    let samples = (0..count).flat_map(|at| {
        let within = normals(5, at as u64, 0, dimension);
        let map = &map;
        (0..40)
            .map(move |row| {
                let sum: f32 = within.iter().zip(&map[row * dimension..]).map(|(value, weight)| value * weight).sum();
                sum + 0.05 * (within[0] * (1.0 + row as f32 / 10.0)).sin()
            })
            .collect::<Vec<_>>()
    });
    Dataset::new("cloud", Tensor::new([count, 40], samples.collect())).unwrap()
}

#[test]
fn dimensions_are_found_again() {
    for dimension in [2, 6] {
        let data = cloud(dimension, 3000);
        let samples = Neighbours::new(&engines()[0], data.clone(), data.mean()).unwrap();
        let two = two_nearest(&samples, 1500, &|_| {}).unwrap();
        let expected = dimension as f64;
        assert!((two.dimension / expected - 1.0).abs() < 0.15, "{two:?}, expected {expected}");
        let extents = local_extents(&samples, 20, 60, &|_| {}).unwrap();
        for extent in extents {
            assert!(extent.for_99 <= dimension + 1 && extent.for_95 + 1 >= dimension, "{extent:?}");
        }
        let variances = spectrum(&data).unwrap();
        assert_eq!(Extent::of(&variances).for_99, dimension, "{variances:?}");
    }
    // The same variances from inner products, where there are fewer samples than values.
    let few = cloud(6, 30);
    let all = spectrum(&few).unwrap();
    assert_eq!(all.len(), 30);
    let total: f64 = all.iter().sum();
    let mean = few.mean();
    let square = |(value, mean): (&f32, &f64)| (f64::from(*value) - mean).powi(2);
    let expected = few.samples.data.iter().zip(mean.iter().cycle()).map(square).sum::<f64>() / 30.0;
    assert!((total / expected - 1.0).abs() < 1e-6, "{total}, {expected}");
    let extent = Extent::of(&[4.0, 4.0, 1.0, 1.0]);
    assert_eq!((extent.for_90, extent.for_95, extent.for_99), (3, 4, 4));
    assert!((extent.participation - 100.0 / 34.0).abs() < 1e-12);
}

/// On a Gaussian of d dimensions the error of the denoiser as a projection is sqrt(d / (n - d)) with much noise;
/// samples are good all the same.
#[test]
fn where_the_hypothesis_breaks_errors_grow_and_samples_stay_good() {
    let mut errors = Vec::new();
    for dimension in [1, 30, 60] {
        let found = examine(&Manifold::flat(dimension, 60, 1), 256, 10, 1, &|_| {}).unwrap();
        errors.push(found.relative_error.high);
        let fine = &found.samplers[2];
        assert!(fine.distance < 3.0 * quantile(&found.others, 0.5), "{found:?}");
        assert!((1.0 / 40.0..=1.0).contains(&fine.chance) && found.others.len() == 39, "{found:?}");
    }
    assert!(errors[0] < 0.5 && (0.7..2.0).contains(&errors[1]) && errors[2].is_infinite(), "{errors:?}");
    let sphere = examine(&Manifold::sphere(20, 60), 256, 10, 1, &|_| {}).unwrap();
    assert!(
        sphere.relative_error.high < 1.0 && sphere.samplers[2].distance < 3.0 * quantile(&sphere.others, 0.5),
        "{sphere:?}"
    );
}

/// On a Gaussian, gamma from its own variances makes every step after the first the exact one.
#[test]
fn a_metric_of_the_data_is_exact_on_a_gaussian() {
    let variances = [4.0, 1.0, 0.25, 0.01];
    // Data whose covariance is that of the Gaussian, exactly: one sample at each end of each axis.
    let mut values = vec![0.0f32; 8 * 4];
    for (at, variance) in variances.iter().enumerate() {
        let far = (4.0f64 * variance).sqrt() as f32;
        values[2 * at * 4 + at] = far;
        values[(2 * at + 1) * 4 + at] = -far;
    }
    let data = Dataset::new("axes", Tensor::new([8, 4], values)).unwrap();
    let covariance = Mat::from_fn(4, 4, |i, j| if i == j { variances[i] } else { 0.0 });
    let mut denoiser = Linear::of_moments(&[0.0; 4], &covariance, [4, 1, 1]).unwrap();
    let sigmas: Vec<f64> = (0..=10).map(|step| 10.0 * 0.55f64.powi(step)).collect();
    let schedule = Schedule::from_sigmas(&sigmas).unwrap();
    let x = Tensor::new([1, 4, 1, 1], vec![3.0, -2.0, 1.0, 5.0]);
    let mut run = |solver: Arc<dyn Solver>| {
        let method = Method { solver, clip: None };
        let mut states = Vec::new();
        sample(&mut denoiser, &schedule, &method, x.clone(), &mut |_| unreachable!(), &mut |progress| {
            states.push(progress.x.data.clone());
            Ok(())
        })
        .unwrap();
        // How far the gain of the steps after the first one is from the exact one, at worst.
        (0..4)
            .map(|at| {
                let gain = f64::from(states[9][at] / states[0][at]);
                let exact = ((variances[at] + sigmas[10].powi(2)) / (variances[at] + sigmas[1].powi(2))).sqrt();
                (gain / exact - 1.0).abs()
            })
            .fold(0.0, f64::max)
    };
    // The first step is DDIM's, so that the answer before the second is not that of the exact way: its error fades.
    let by_components = run(Arc::new(metric::principal(data.clone(), None).unwrap()));
    let by_values = run(Arc::new(metric::diagonal(&data)));
    let by_mean = run(Arc::new(metric::uniform(&data)));
    let plain = run(Arc::new(Descent { gamma: 2.0, noise: Noise::Mu(0.0) }));
    assert!((by_components - by_values).abs() < 1e-4, "the components are the axes: {by_components}, {by_values}");
    assert!(by_components < 0.02, "{by_components}");
    assert!(by_components < 0.3 * by_mean && by_components < 0.3 * plain, "{by_components}, {by_mean}, {plain}");
    assert_eq!(metric::principal(data.clone(), Some(5)).unwrap_err().kind(), downhill::ErrorKind::Argument);
    // Two components, and one variance for the rest.
    let some = run(Arc::new(metric::principal(data, Some(2)).unwrap()));
    assert!(some > by_components && some < plain, "{some}");
}
