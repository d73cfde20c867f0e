//! Eigenpairs against a dense float64 solver, scipy and scikit-learn: clustered and repeated eigenvalues, rank
//! deficiency, fewer samples than values, more pairs than rank, zeros, what is not finite; the device against its twin.

use crate::common::{distance, engines, numbers};
use downhill::Result;
use downhill::data::Spiked;
use downhill::formats::npy;
use downhill::spectral::basis::{Random, eigen, inner, orthonormal};
use downhill::spectral::covariance::DeviceCovariance;
use downhill::spectral::host::{HostCovariance, precise_second_moment};
use downhill::spectral::lanczos::lanczos;
use downhill::spectral::operator::{Dense, columns_of};
use downhill::spectral::power::power_iteration;
use downhill::spectral::randomized::randomized;
use downhill::spectral::subspace::subspace_iteration;
use downhill::spectral::{Arithmetic, RelativeTo, Route, Settings, Spectrum, SymmetricOperator, principal_components};
use downhill::tensor::Tensor;
use faer::Mat;

/// What every residual must stay below, relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-5;

/// A symmetric matrix with these eigenvalues and random eigenvectors, which come with it as columns.
fn with_eigenvalues(values: &[f64], seed: u64) -> (Dense, Mat<f64>) {
    let count = values.len();
    let mut random = Random::new(seed);
    let start = random.block(count, count);
    let vectors = orthonormal(start.as_ref(), &mut random);
    let scaled = Mat::from_fn(count, count, |i, j| vectors[(i, j)] * values[j]);
    (Dense::new(&scaled * vectors.transpose()).unwrap(), vectors)
}

/// Asserts that a spectrum has the leading `expected` values, small residuals and orthonormal vectors.
fn assert_leading(spectrum: &Spectrum, expected: &[f64], what: &str) {
    let scale = expected.iter().fold(0.0f64, |most, value| most.max(value.abs())).max(f64::MIN_POSITIVE);
    assert!(spectrum.converged, "{what}: not converged, residuals {:?}", spectrum.residuals);
    assert_eq!(spectrum.values.len(), expected.len(), "{what}");
    for (at, (value, expected)) in spectrum.values.iter().zip(expected).enumerate() {
        assert!((value - expected).abs() <= TOLERANCE * scale, "{what}: value {at} is {value}, not {expected}");
    }
    assert!(spectrum.worst_residual() < TOLERANCE, "{what}: residuals {:?}", spectrum.residuals);
    let vectors = columns_of(&spectrum.vectors);
    let apart = inner(vectors.as_ref(), vectors.as_ref()) - Mat::<f64>::identity(expected.len(), expected.len());
    assert!(apart.norm_max() < 1e-6, "{what}: vectors are {:e} from orthonormal", apart.norm_max());
}

type Solver = (&'static str, fn(&dyn SymmetricOperator, &Settings) -> Result<Spectrum>);

const BLOCK_SOLVERS: [Solver; 5] = [
    ("lanczos", lanczos),
    ("lanczos, blocks of 1", |operator, settings| lanczos(operator, &Settings { block: Some(1), ..*settings })),
    ("lanczos, blocks of 3", |operator, settings| lanczos(operator, &Settings { block: Some(3), ..*settings })),
    ("subspace", subspace_iteration),
    ("randomized", |operator, settings| randomized(operator, 60, settings)),
];

fn settings(count: usize) -> Settings {
    Settings { tolerance: 3e-6, most_applications: 3000, seed: 5, ..Settings::new(count) }
}

#[test]
fn clustered_and_repeated_eigenvalues_are_all_found() {
    let decaying: Vec<f64> = (0..60).map(|at| 0.8f64.powi(at)).collect();
    let mut clustered = vec![1.0, 0.9999, 0.9998, 0.9997, 0.5, 0.499, 0.498];
    clustered.extend((0..73).map(|at| 0.2 * 0.95f64.powi(at)));
    let mut repeated = vec![2.0; 5];
    repeated.extend([1.0; 4]);
    repeated.extend((0..41).map(|at| 0.3 * 0.9f64.powi(at)));
    for (name, values, count) in [("decaying", decaying, 8), ("clustered", clustered, 7), ("repeated", repeated, 8)] {
        let (operator, vectors) = with_eigenvalues(&values, 3);
        for (solver, solve) in BLOCK_SOLVERS {
            let spectrum = solve(&operator, &settings(count)).unwrap();
            assert_leading(&spectrum, &values[..count], &format!("{name}, {solver}"));
            // Within a cluster only the space is determined: what is found must lie in it.
            let space = if name == "repeated" { 9 } else { count };
            let found = columns_of(&spectrum.vectors);
            let within = inner(vectors.subcols(0, space), found.as_ref());
            for column in within.col_iter() {
                assert!((column.norm_l2() - 1.0).abs() < 1e-4, "{name}, {solver}: a vector left its space");
            }
        }
    }
}

#[test]
fn power_iteration_finds_separated_eigenvalues_one_by_one() {
    let values: Vec<f64> = (0..40).map(|at| 0.7f64.powi(at)).collect();
    let (operator, vectors) = with_eigenvalues(&values, 4);
    let spectrum = power_iteration(&operator, &settings(5)).unwrap();
    assert_leading(&spectrum, &values[..5], "power");
    let cosines = inner(vectors.subcols(0, 5), columns_of(&spectrum.vectors).as_ref());
    for i in 0..5 {
        assert!(cosines[(i, i)].abs() > 1.0 - 1e-6, "{}", cosines[(i, i)]);
    }
    // Two that are equal: some pair of their plane.
    let (operator, _) = with_eigenvalues(&[1.0, 1.0, 0.5, 0.1, 0.0], 4);
    assert_leading(&power_iteration(&operator, &settings(3)).unwrap(), &[1.0, 1.0, 0.5], "power, repeated");
}

#[test]
fn more_pairs_than_rank_are_filled_with_zeros() {
    let mut values = vec![3.0, 2.0, 2.0, 1.0];
    values.resize(45, 0.0);
    let (operator, _) = with_eigenvalues(&values, 6);
    for (solver, solve) in BLOCK_SOLVERS {
        assert_leading(&solve(&operator, &settings(9)).unwrap(), &values[..9], &format!("rank four, {solver}"));
    }
    assert_leading(&power_iteration(&operator, &settings(6)).unwrap(), &values[..6], "rank four, power");
}

#[test]
fn zeros_and_the_smallest_and_fullest_questions_have_answers() {
    let zero = Dense::new(Mat::zeros(7, 7)).unwrap();
    let one = Dense::new(Mat::from_fn(1, 1, |_, _| 4.0)).unwrap();
    let values: Vec<f64> = (0..12).map(|at| f64::from(12 - at)).collect();
    let (small, _) = with_eigenvalues(&values, 8);
    for (solver, solve) in BLOCK_SOLVERS.into_iter().chain([("power", power_iteration as _)]) {
        let what = |case: &str| format!("{case}, {solver}");
        assert_leading(&solve(&zero, &settings(3)).unwrap(), &[0.0; 3], &what("zero"));
        assert_leading(&solve(&one, &settings(1)).unwrap(), &[4.0], &what("one"));
        assert_leading(&solve(&small, &settings(12)).unwrap(), &values, &what("all"));
    }
    // Eigenvalues below zero: Lanczos orders by value, not by modulus.
    let (indefinite, _) = with_eigenvalues(&[1.0, 0.5, 0.0, -3.0, -4.0], 9);
    assert_leading(&lanczos(&indefinite, &settings(2)).unwrap(), &[1.0, 0.5], "indefinite");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_what_cannot_be_is_refused() {
    let values: Vec<f64> = (0..30).map(|at| 0.8f64.powi(at)).collect();
    let (operator, _) = with_eigenvalues(&values, 3);
    let ask = |seed: u64| lanczos(&operator, &Settings { seed, ..settings(4) }).unwrap();
    assert_eq!(ask(1).vectors, ask(1).vectors);
    assert_ne!(ask(1).vectors, ask(2).vectors);
    for count in [0, 31] {
        assert_eq!(lanczos(&operator, &settings(count)).unwrap_err().kind(), downhill::ErrorKind::Argument);
    }
    assert_eq!(
        lanczos(&operator, &Settings { tolerance: f64::NAN, ..settings(4) }).unwrap_err().kind(),
        downhill::ErrorKind::Argument
    );
    assert_eq!(
        Dense::new(Mat::from_fn(2, 2, |_, _| f64::INFINITY)).err().unwrap().kind(),
        downhill::ErrorKind::NonFinite
    );
    let short = lanczos(&operator, &Settings { most_applications: 1, block: Some(2), ..settings(4) }).unwrap();
    assert!(!short.converged && short.iterations == 1);
}

#[test]
fn the_device_applies_the_moment_as_its_twin_does() {
    for (samples, dimension, vectors) in
        [(1, 1, 1), (3, 5, 2), (37, 7, 5), (130, 36, 33), (2100, 10, 17), (9, 260, 4), (70, 12, 67)]
    {
        let x = Tensor::new([samples, dimension], numbers(1, samples * dimension));
        let v = Tensor::new([vectors, dimension], numbers(2, vectors * dimension));
        let twin = HostCovariance::new(&x).apply(&v).unwrap();
        for engine in engines() {
            let device = DeviceCovariance::new(engine, &x).unwrap();
            for _ in 0..2 {
                let apart = distance(&device.apply(&v).unwrap().data, &twin.data);
                assert!(apart < 1e-5, "{samples} x {dimension}, {vectors} vectors: {apart:e}");
            }
            // Another number of vectors on the same data.
            let first = device.apply(&v.slice(0..1)).unwrap();
            assert!(distance(&first.data, twin.item(0)) < 2e-5);
        }
    }
}

fn golden(case: &str, file: &str) -> Tensor {
    npy::read(format!("{}/tests/golden/spectra/{case}/{file}.npy", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Asserts that components are those of scipy or scikit-learn, up to signs where an eigenvalue is not zero.
fn assert_golden(spectrum: &Spectrum, case: &str, prefix: &str, what: &str) {
    let (values, vectors) =
        (golden(case, &format!("{prefix}eigenvalues")), golden(case, &format!("{prefix}eigenvectors")));
    let expected: Vec<f64> = values.data.iter().map(|value| f64::from(*value)).collect();
    assert_leading(spectrum, &expected, what);
    for (at, value) in expected.iter().enumerate().filter(|(_, value)| **value > 1e-3 * expected[0]) {
        let pairs = spectrum.vectors.item(at).iter().zip(vectors.item(at));
        let cosine: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!(cosine.abs() > 1.0 - 1e-5, "{what}: cosine {cosine} at eigenvalue {value}");
    }
}

#[test]
fn principal_components_are_those_of_scipy_and_scikit_learn_by_every_route() {
    let engine = &engines()[0];
    for case in ["tall", "wide", "uncentred", "rank-three"] {
        for (prefix, centred) in [("", false), ("centred_", true)] {
            let mut data = downhill::data::Dataset::new(case, golden(case, "x")).unwrap();
            if centred {
                data.centre();
            }
            for route in [Some(Route::Moment), Some(Route::Gram), Some(Route::MatrixFree), None] {
                let settings = Settings { tolerance: 2e-6, ..Settings::new(6) };
                let found = principal_components(engine, &data.samples, &settings, route).unwrap();
                assert_golden(&found.spectrum, case, prefix, &format!("{case}, {prefix}, {route:?}"));
            }
        }
    }
}

/// Samples whose second moment has these eigenvalues.
fn samples_with(values: &[f64], count: usize, dimension: usize) -> Tensor {
    let mut random = Random::new(11);
    let (left, right) = (random.block(count, values.len()), random.block(dimension, values.len()));
    let (left, right) = (orthonormal(left.as_ref(), &mut random), orthonormal(right.as_ref(), &mut random));
    let scaled = Mat::from_fn(count, values.len(), |i, j| left[(i, j)] * (values[j] * count as f64).sqrt());
    let data = &scaled * right.transpose();
    Tensor::new(
        [count, dimension],
        (0..count * dimension).map(|at| data[(at / dimension, at % dimension)] as f32).collect(),
    )
}

#[test]
fn every_route_finds_clusters_repetitions_and_the_end_of_the_rank() {
    let clustered: Vec<f64> =
        [1.0, 0.9999, 0.9998, 0.5, 0.4999].into_iter().chain((0..30).map(|at| 0.2 * 0.9f64.powi(at))).collect();
    let repeated = [2.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.25, 0.1];
    for engine in engines() {
        for route in [Route::Moment, Route::Gram, Route::MatrixFree] {
            // More samples than values, and fewer.
            for (count, dimension) in [(150, 60), (45, 130)] {
                for (name, values, sought) in [("clustered", &clustered[..], 6), ("repeated", &repeated, 12)] {
                    let samples = samples_with(values, count, dimension);
                    let settings = Settings { tolerance: 3e-6, ..Settings::new(sought) };
                    let found = principal_components(engine, &samples, &settings, Some(route)).unwrap();
                    let expected: Vec<f64> = values.iter().copied().chain([0.0; 12]).take(sought).collect();
                    assert_leading(&found.spectrum, &expected, &format!("{name}, {count} x {dimension}, {route}"));
                }
            }
        }
    }
}

#[test]
fn data_that_are_zero_too_few_or_not_finite_are_dealt_with_by_every_route() {
    let engine = &engines()[0];
    for route in [Route::Moment, Route::Gram, Route::MatrixFree] {
        let ask = |x: &Tensor, count| principal_components(engine, x, &Settings::new(count), Some(route));
        let zero = ask(&Tensor::zeros([5, 9]), 4).unwrap();
        assert_leading(&zero.spectrum, &[0.0; 4], &format!("zero data, {route}"));
        // Longer than any sum of a kernel.
        if route == Route::MatrixFree {
            assert_eq!(ask(&Tensor::zeros([1, 120_001]), 1).unwrap_err().kind(), downhill::ErrorKind::Memory);
        }
        // Two samples span two dimensions; seven eigenpairs are sought.
        let two = Tensor::new([2, 9], numbers(3, 18));
        let few = ask(&two, 7).unwrap().spectrum;
        assert_leading(&few, &[few.values[0], few.values[1], 0.0, 0.0, 0.0, 0.0, 0.0], &format!("two, {route}"));
        let total: f64 = two.data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 2.0;
        assert!((few.values.iter().sum::<f64>() / total - 1.0).abs() < 1e-5);
        let mut broken = two;
        broken.data[4] = f32::NAN;
        assert_eq!(ask(&broken, 1).unwrap_err().kind(), downhill::ErrorKind::NonFinite);
        assert_eq!(ask(&Tensor::zeros([3, 2]), 3).unwrap_err().kind(), downhill::ErrorKind::Argument);
    }
}

/// Asserts that each value is within `tolerance` of the one expected, relative to itself.
fn assert_each(spectrum: &Spectrum, expected: &[f64], tolerance: f64, what: &str) {
    assert!(spectrum.converged && spectrum.worst_residual() <= 1e-5, "{what}: {:?}", spectrum.residuals);
    for (found, expected) in spectrum.values.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < tolerance, "{what}: {found} is not {expected}");
    }
}

#[test]
fn small_eigenvalues_beside_a_large_one_are_found_by_every_route() {
    let each = |count| Settings { relative_to: RelativeTo::Each, ..Settings::new(count) };
    let mut data = downhill::data::Dataset::new("one-large-column", golden("one-large-column", "x")).unwrap();
    data.centre();
    let expected = npy::read_f64(format!(
        "{}/tests/golden/spectra/one-large-column/centred_eigenvalues.npy",
        env!("CARGO_MANIFEST_DIR")
    ));
    let expected = expected.unwrap();
    for route in [None, Some(Route::Moment), Some(Route::Gram), Some(Route::MatrixFree)] {
        for settings in [each(4), Settings::new(4)] {
            let found = principal_components(&engines()[0], &data.samples, &settings, route).unwrap();
            assert_eq!(found.arithmetic, Arithmetic::Float64);
            assert_each(&found.spectrum, &expected, 1e-5, &format!("{route:?}"));
        }
    }
    // More samples than values, and a large direction that is not an axis.
    let (count, dimension) = (700, 120);
    let mut values = numbers(1, count * dimension);
    values.chunks_mut(dimension).for_each(|row| {
        let along = 1e4 * row[0];
        row.iter_mut().enumerate().for_each(|(at, value)| *value += along * (1.0 + (at % 3) as f32));
    });
    let samples = Tensor::new([count, dimension], values);
    let (expected, _) = eigen(precise_second_moment(&samples).as_ref()).unwrap();
    for engine in engines() {
        for route in [None, Some(Route::Moment), Some(Route::Gram), Some(Route::MatrixFree)] {
            let found = principal_components(engine, &samples, &each(5), route).unwrap();
            assert_each(&found.spectrum, &expected[..5], 1e-5, &format!("turned, {route:?}"));
        }
    }
}

#[test]
fn well_scaled_data_stay_in_float32() {
    for route in [Route::Moment, Route::Gram, Route::MatrixFree] {
        let samples = Tensor::new([150, 60], numbers(1, 9000));
        let settings = Settings { relative_to: RelativeTo::Each, ..Settings::new(4) };
        let found = principal_components(&engines()[0], &samples, &settings, Some(route)).unwrap();
        assert_eq!(found.arithmetic, Arithmetic::Float32, "{route}");
        let (expected, _) = eigen(precise_second_moment(&samples).as_ref()).unwrap();
        assert_each(&found.spectrum, &expected[..4], 1e-5, &format!("{route}"));
    }
}

#[test]
fn the_unit_of_the_data_does_not_matter() {
    let (count, dimension) = (150, 60);
    let plain = numbers(1, count * dimension);
    for factor in [1e-42, 1e-30, 1e20, 1e37] {
        let scaled: Vec<f32> = plain.iter().map(|value| (f64::from(*value) * factor) as f32).collect();
        // What float32 keeps of the data: denormals have few digits.
        let kept =
            Tensor::new([count, dimension], scaled.iter().map(|v| (f64::from(*v) / factor) as f32).collect::<Vec<_>>());
        let (expected, _) = eigen(precise_second_moment(&kept).as_ref()).unwrap();
        let expected: Vec<f64> = expected[..4].iter().map(|value| value * factor * factor).collect();
        let samples = Tensor::new([count, dimension], scaled);
        for route in [None, Some(Route::Moment), Some(Route::Gram), Some(Route::MatrixFree)] {
            let settings = Settings { relative_to: RelativeTo::Each, ..Settings::new(4) };
            let found = principal_components(&engines()[0], &samples, &settings, route).unwrap();
            assert_each(&found.spectrum, &expected, 1e-5, &format!("times {factor:e}, {route:?}"));
        }
    }
}

#[test]
fn spikes_are_found_where_theory_has_them() {
    // Nadler 2008: the leading sample eigenvalue tends to (l + s^2)(1 + gamma s^2 / l), cos^2 to
    // (1 - gamma / x^2) / (1 + gamma / x) with x = l / s^2; finite samples stay within a few standard errors.
    let (samples, dimension, noise) = (1500, 300, 1.0);
    let model = Spiked { samples, dimension, spikes: vec![6.0], noise, seed: 2 };
    let (data, direction) = (model.generate().unwrap(), model.directions().unwrap().remove(0));
    let found = principal_components(&engines()[0], &data.samples, &Settings::new(2), Some(Route::MatrixFree)).unwrap();
    let gamma = dimension as f64 / samples as f64;
    let expected = 7.0 * (1.0 + gamma / 6.0);
    let standard_error = 7.0 * (2.0 / samples as f64).sqrt();
    let value = found.spectrum.values[0];
    assert!((value - expected).abs() < 3.0 * standard_error, "{value} is not {expected}");
    let cosine: f64 = found.spectrum.vectors.item(0).iter().zip(&direction).map(|(a, b)| f64::from(*a) * b).sum();
    let squared = (1.0 - gamma / 36.0) / (1.0 + gamma / 6.0);
    assert!((cosine * cosine - squared).abs() < 0.02, "{} is not {squared}", cosine * cosine);
}
