//! The Jacobian of denoisers: exact products against central differences and closed forms, its leading eigenvectors
//! against those of the whole matrix.

use crate::common::{distance, engines, numbers};
use downhill::checkpoint::ModelFiles;
use downhill::denoise::closed_form::ClosedForm;
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::jacobian::{Differences, Jacobian, JacobianAt, JacobianSettings, NetworkJacobian, Place};
use downhill::denoise::{Condition, Guidance, Level, Network, NetworkDenoiser};
use downhill::nets::{CallSize, open};
use downhill::spectral::Settings;
use downhill::spectral::arnoldi::{arnoldi, whole};
use downhill::tensor::Tensor;

/// A place where the embedded network has an image: a digit of the data under noise.
fn place(sigma: f64) -> Place {
    let digit: Vec<f32> = (0..784usize)
        .map(|at| if (at % 28).abs_diff(14) < 4 && at / 28 > 5 && at / 28 < 22 { 1.0 } else { -1.0 })
        .collect();
    let noise = downhill::noise::philox::normals(3, 0, 0, 784);
    let x = digit.iter().zip(noise).map(|(x, noise)| x + sigma as f32 * noise).collect();
    Place { x: Tensor::new([1, 1, 28, 28], x), level: Level::at_sigma(sigma) }
}

fn network(engine: &downhill::kernels::Engine, block: usize) -> NetworkJacobian<'_> {
    let model = ModelFiles::open(None).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let settings = JacobianSettings {
        table: NoiseTable::default(),
        prediction: PredictionType::Epsilon,
        condition: Condition::default(),
        size: (28, 28),
        block,
    };
    NetworkJacobian::new(engine, net, model.weights, settings).unwrap()
}

#[test]
fn products_are_those_of_central_differences() {
    for engine in engines() {
        let jacobian = network(engine, 4);
        let model = ModelFiles::open(None).unwrap();
        let net = open(&model.config, &model.weights).unwrap();
        let network = Network::new(engine, net, model.weights, CallSize::images(10, (28, 28))).unwrap();
        let (table, prediction) = (NoiseTable::default(), PredictionType::Epsilon);
        let mut denoiser = NetworkDenoiser::new(network, table, prediction, Guidance::default()).unwrap();
        // More vectors than a block, and no whole number of blocks; of any length.
        let vectors = Tensor::new([5, 784], numbers(1, 5 * 784));
        for sigma in [0.05, 0.7, 3.0] {
            let place = place(sigma);
            let exact = jacobian.products(&place, &vectors).unwrap();
            let step = |sigma: f64| 0.2 * sigma;
            let differences = Differences::new(&mut denoiser, &step).products(&place, &vectors).unwrap();
            for at in 0..5 {
                let apart = distance(exact.item(at), differences.item(at));
                println!("{:?} at {sigma}: {apart:.1e}", engine.family);
                assert!(apart < 1e-3, "{apart:e}");
            }
        }
    }
}

#[test]
fn a_wiener_filter_has_the_gains_of_its_modes() {
    let engine = &engines()[0];
    let form = ClosedForm::open("wiener:digits").unwrap().unwrap();
    let step = form.difference_step();
    let mut denoiser = form.ready(engine).unwrap();
    let jacobian = Differences::new(denoiser.as_mut(), &step);
    let settings = Settings { tolerance: 1e-4, ..Settings::new(4) };
    let found: Vec<_> = [0.5, 5.0]
        .into_iter()
        .map(|sigma| arnoldi(&JacobianAt::new(&jacobian, &place(sigma)), &settings).unwrap())
        .collect();
    for at in 0..4 {
        // lambda / (lambda + sigma^2) at one level tells that at any other.
        let gains: Vec<f64> = found.iter().map(|found| found.spectrum.values[at]).collect();
        let variance = 25.0 * gains[1] / (1.0 - gains[1]);
        assert!((gains[0] - variance / (variance + 0.25)).abs() < 1e-4, "{gains:?}");
        let vectors: Vec<_> = found.iter().map(|found| found.spectrum.vectors.item(at)).collect();
        let cosine: f64 = vectors[0].iter().zip(vectors[1]).map(|(a, b)| f64::from(a * b)).sum();
        assert!(cosine.abs() > 0.999, "{cosine}");
    }
    assert!(found.iter().all(|found| found.asymmetry < 1e-2), "{found:?}");
}

#[test]
fn leading_eigenvectors_are_those_of_the_whole_matrix_up_to_the_asymmetry() {
    let jacobian = network(&engines()[0], 32);
    let place = place(1.0);
    let at = JacobianAt::new(&jacobian, &place);
    let settings = Settings { tolerance: 1e-3, ..Settings::new(4) };
    let (exact, found) = (whole(&at, &settings).unwrap(), arnoldi(&at, &settings).unwrap());
    assert_eq!(exact.spectrum.applied_vectors, 784);
    assert!(found.spectrum.converged && found.spectrum.applied_vectors < 300, "{found:?}");
    println!("asymmetry {:.3} and {:.3}", exact.asymmetry, found.asymmetry);
    assert!((exact.asymmetry - found.asymmetry).abs() < 0.3 * exact.asymmetry);
    for at in 0..4 {
        let (a, b) = (exact.spectrum.vectors.item(at), found.spectrum.vectors.item(at));
        let cosine: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
        let sine = (1.0 - cosine * cosine).max(0.0).sqrt();
        let apart = (exact.spectrum.values[at] / found.spectrum.values[at] - 1.0).abs();
        println!("{at}: sine {sine:.3}, eigenvalues {apart:.1e} apart");
        assert!(sine < exact.asymmetry && apart < exact.asymmetry.powi(2), "{sine} {apart}");
    }
}
