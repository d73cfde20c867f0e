//! Closed-form denoisers against float64 computed here: the ideal one over all levels of noise, the Wiener filter by
//! its modes, projections by their geometry.

use crate::common::{engines, numbers};
use downhill::ErrorKind;
use downhill::data::{Dataset, Pixels, digits};
use downhill::denoise::closed_form::ClosedForm;
use downhill::denoise::closed_form::ideal::Ideal;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::schedule::Schedule;
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Method, sample};
use downhill::spectral::basis::eigen;
use downhill::tensor::Tensor;
use faer::Mat;

/// Samples of unequal spread around a mean far from zero: (count, dimension).
fn data(seed: u32, count: usize, dimension: usize) -> Dataset {
    let mut values = numbers(seed, count * dimension);
    for (at, value) in values.iter_mut().enumerate() {
        *value = *value / (1.0 + (at % dimension) as f32) + 3.0;
    }
    Dataset::new("data", Tensor::new([count, dimension], values)).unwrap()
}

/// x = k + sigma w for samples k of the data: (n, p, 1, 1).
fn noised(data: &Dataset, count: usize, sigma: f64, seed: u32) -> Tensor {
    let noise = numbers(seed, count * data.dimension());
    let picked = (0..count).flat_map(|at| data.samples.item(at * 37 % data.count()));
    let values = picked.zip(noise).map(|(k, w)| (f64::from(*k) + 1.7 * sigma * f64::from(w)) as f32).collect();
    Tensor::new([count, data.dimension(), 1, 1], values)
}

/// eps of the ideal denoiser, everything in float64.
fn ideal_reference(data: &Dataset, x: &[f32], sigma: f64) -> Vec<f64> {
    let logs: Vec<f64> = (0..data.count())
        .map(|at| {
            let square = |(x, k): (&f32, &f32)| (f64::from(*x) - f64::from(*k)).powi(2);
            -x.iter().zip(data.samples.item(at)).map(square).sum::<f64>() / (2.0 * sigma * sigma)
        })
        .collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; x.len()];
    for (at, weight) in weights.iter().enumerate() {
        mean.iter_mut().zip(data.samples.item(at)).for_each(|(mean, k)| *mean += weight / total * f64::from(*k));
    }
    x.iter().zip(mean).map(|(x, mean)| (f64::from(*x) - mean) / sigma).collect()
}

/// max |a - b| / max |b|
fn apart(a: &[f32], b: &[f64]) -> f64 {
    let largest = b.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    a.iter().zip(b).fold(0.0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs())) / largest
}

/// Many small samples, so that at much noise more of them count than are weighed again on the host.
#[test]
fn the_ideal_denoiser_is_that_of_float64_at_every_level() {
    let many = data(1, 70_001, 19);
    let few = data(2, 50, 7);
    for engine in engines() {
        for (data, images) in [(&many, 3), (&few, 67)] {
            let image = [data.dimension(), 1, 1];
            let mut ideal = Ideal::new(engine, data.clone(), data.mean(), image).unwrap();
            for sigma in [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0] {
                let x = noised(data, images, sigma, 5);
                let eps = ideal.eps(&x, &Level::each(&vec![sigma; images])).unwrap();
                assert_eq!(eps.shape, x.shape);
                for at in [0, images / 2, images - 1] {
                    let far = apart(eps.item(at), &ideal_reference(data, x.item(at), sigma));
                    assert!(far < 1e-4, "{} samples, sigma {sigma}, image {at}: {far:e}", data.count());
                }
            }
        }
    }
}

#[test]
fn the_ideal_denoiser_of_the_digits_is_that_of_float64_between_them() {
    let data = digits(Pixels::Signed).unwrap();
    let engine = &engines()[0];
    let mut ideal = Ideal::new(engine, data.clone(), data.mean(), [1, 28, 28]).unwrap();
    // Half-way between two digits both count, whatever the noise.
    let half = data.samples.item(3).iter().zip(data.samples.item(8)).map(|(a, b)| 0.5 * (a + b)).collect();
    let x = Tensor::new([1, 1, 28, 28], half);
    for sigma in [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0] {
        let far = apart(&ideal.eps(&x, &Level::each(&[sigma])).unwrap().data, &ideal_reference(&data, &x.data, sigma));
        assert!(far < 1e-4, "sigma {sigma}: {far:e}");
    }
}

/// The gain of DDIM along a mode of variance lambda is the product of `(lambda + s t) / (lambda + s^2)`.
#[test]
fn the_wiener_filter_with_ddim_has_the_gain_of_each_mode() {
    let (count, dimension) = (300, 12);
    for dimension in [dimension, 400] {
        let mut data = data(3, count, dimension);
        let mean = data.mean();
        let original = data.clone();
        data.centre();
        let covariance = Mat::from_fn(dimension, dimension, |i, j| {
            let at = |k: usize, i: usize| f64::from(original.samples.data[k * dimension + i]) - mean[i];
            (0..count).map(|k| at(k, i) * at(k, j)).sum::<f64>() / count as f64
        });
        let (values, modes) = eigen(covariance.as_ref()).unwrap();
        let image = [dimension, 1, 1];
        let filters = [
            ("of data", Linear::wiener(&data, &mean, image).unwrap()),
            ("of moments", Linear::of_moments(&mean, &covariance, image).unwrap()),
        ];
        let sigmas: Vec<f64> = (0..20).map(|at| 20.0 * 1e-4f64.powf(f64::from(at) / 19.0)).chain([0.0]).collect();
        let schedule = Schedule::from_sigmas(&sigmas).unwrap();
        let method = Method::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) });
        for (name, mut filter) in filters {
            for mode in [0, 1, 5, dimension - 1] {
                let along = |at: usize| modes[(at, mode)];
                let values_at = (0..dimension).map(|at| (mean[at] + 20.0 * along(at)) as f32).collect();
                let x = Tensor::new([1, dimension, 1, 1], values_at);
                let no_noise = &mut |_| unreachable!("DDIM adds none");
                let end = sample(&mut filter, &schedule, &method, x, no_noise, &mut |_| Ok(())).unwrap();
                let gain: f64 =
                    (0..dimension).map(|at| (f64::from(end.data[at]) - mean[at]) * along(at)).sum::<f64>() / 20.0;
                let lambda = values[mode].max(0.0);
                let expected: f64 =
                    sigmas.windows(2).map(|s| (lambda + s[0] * s[1]) / (lambda + s[0] * s[0])).product();
                assert!((gain - expected).abs() < 1e-4 * expected.max(1e-2), "{name}, {mode}: {gain} {expected}");
            }
        }
    }
}

#[test]
fn a_projection_is_idempotent_and_leaves_what_is_orthogonal() {
    // By the whole matrix, by the Gram matrix, and by Lanczos.
    for (count, dimension, components) in [(200, 20, 5), (30, 500, 8), (1500, 1100, 4)] {
        let mut data = data(4, count, dimension);
        let mean = data.mean();
        data.centre();
        let engine = &engines()[0];
        let mut pca = Linear::projection(engine, &data, &mean, components, [dimension, 1, 1]).unwrap();
        let x = Tensor::new([2, dimension, 1, 1], numbers(9, 2 * dimension));
        let eps = pca.eps(&x, &Level::each(&[0.5, 2.0])).unwrap();
        let prediction = |at: usize, sigma: f32| -> Vec<f32> {
            x.item(at).iter().zip(eps.item(at)).map(|(x, eps)| x - sigma * eps).collect()
        };
        let projected = Tensor::new(x.shape.clone(), [prediction(0, 0.5), prediction(1, 2.0)].concat());
        let again = pca.eps(&projected, &Level::each(&[1.0, 1.0])).unwrap();
        let largest = again.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        assert!(largest < 2e-6, "{largest:e} is left of a projection");
        // The variance of the data along it: the projection of all samples keeps the leading eigenvalues.
        let samples = Tensor::new(
            [count, dimension, 1, 1],
            data.samples
                .data
                .iter()
                .zip(mean.iter().cycle())
                .map(|(value, mean)| (f64::from(*value) + mean) as f32)
                .collect::<Vec<_>>(),
        );
        let residual = pca.eps(&samples, &Level::each(&vec![1.0; count])).unwrap();
        let energy = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / count as f64;
        let moment = downhill::spectral::host::precise_second_moment(&data.samples);
        let leading: f64 = eigen(moment.as_ref()).unwrap().0[..components].iter().sum();
        let kept = energy(&data.samples.data) - energy(&residual.data);
        assert!((kept / leading - 1.0).abs() < 1e-4, "{kept} of {leading}");
    }
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    let data = data(6, 3000, 10);
    let mean = data.mean();
    let x = noised(&data, 70, 0.4, 8);
    let sigma: Vec<f64> = (0..70).map(|at| 0.05 * 1.1f64.powi(at)).collect();
    for engine in engines() {
        let mut denoisers: Vec<Box<dyn Denoiser>> = vec![
            Box::new(Ideal::new(engine, data.clone(), mean.clone(), [10, 1, 1]).unwrap()),
            Box::new(Linear::wiener(&data, &mean, [10, 1, 1]).unwrap()),
        ];
        for denoiser in &mut denoisers {
            let all = denoiser.eps(&x, &Level::each(&sigma)).unwrap();
            for at in [0, 33, 69] {
                let one = denoiser.eps(&x.slice(at..at + 1), &Level::each(&sigma[at..=at])).unwrap();
                assert_eq!(one.data, all.item(at), "image {at}");
            }
        }
    }
}

#[test]
fn what_is_no_closed_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, tensor: &Tensor| {
        let path = folder.path().join(name).display().to_string();
        downhill::formats::npy::write(&path, tensor).unwrap();
        path
    };
    let refused = |text: &str, kind: ErrorKind, part: &str| match ClosedForm::open(text) {
        Ok(_) => panic!("{text} is taken"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    };
    let data = file("data.npy", &Tensor::new([5, 3], numbers(1, 15)));
    refused(&format!("pca:{data},k=4"), ErrorKind::Argument, "more components than the 3 values");
    let mean = file("m.npy", &Tensor::zeros([2]));
    for (name, values, part) in [
        ("skew", vec![1.0, 0.5, 0.2, 1.0], "not symmetric"),
        ("negative", vec![1.0, 2.0, 2.0, 1.0], "the eigenvalue -1"),
        ("large", vec![1.0; 9], "has shape [3, 3], expected [2, 2]"),
    ] {
        let side = values.len().isqrt();
        let cov = file(name, &Tensor::new([side, side], values));
        refused(&format!("wiener:mean={mean},cov={cov}"), ErrorKind::File, part);
    }
    let form = ClosedForm::open(&format!("ideal:{data}")).unwrap().unwrap();
    for shape in [vec![2, 4], vec![3], vec![0, 3]] {
        let x = Tensor::zeros(shape);
        let error = form.as_images(x, std::path::Path::new("x.npy")).unwrap_err();
        assert!(error.to_string().starts_with("x.npy: the array has shape"), "{error}");
    }
    assert_eq!(form.as_images(Tensor::zeros([2, 3]), std::path::Path::new("x.npy")).unwrap().shape, [2, 3, 1, 1]);
}
