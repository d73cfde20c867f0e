//! Chains of projections: their levels on the device against the host's, their products against numpy in float64, and
//! what becomes of the modes under the three couplings of noise.

use crate::common::{distance, engines, numbers};
use downhill::data::{Dataset, Pixels, Spiked, digits};
use downhill::formats::npy;
use downhill::spectral::host::precise_second_moment;
use downhill::spectral::moments::second_moments;
use downhill::study::chain::{
    Arithmetic, Chain, Coupling, LevelNoise, Projections, Projector, Schedule, participation_ratio,
};
use downhill::tensor::Tensor;

fn golden(case: &str, file: &str) -> Tensor {
    npy::read(format!("{}/tests/golden/chains/{case}/{file}.npy", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// max |a - b|
fn apart(a: &[f64], b: &Tensor) -> f64 {
    assert_eq!(a.len(), b.data.len());
    a.iter().zip(&b.data).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max)
}

#[test]
fn moments_of_many_sets_at_once_are_those_of_the_host() {
    for (sets, samples, dimension) in [(1, 1, 1), (3, 5, 2), (2, 37, 7), (5, 130, 33), (1, 2100, 10), (3, 9, 130)] {
        let data: Vec<Tensor> =
            (0..sets).map(|set| Tensor::new([samples, dimension], numbers(set, samples * dimension))).collect();
        for engine in engines() {
            let moments = second_moments(engine, &data).unwrap();
            assert_eq!(moments.len(), data.len());
            for (moment, data) in moments.iter().zip(&data) {
                let apart = (moment - precise_second_moment(data)).norm_max();
                assert!(apart < 1e-6, "{sets} of {samples} x {dimension}: {apart:e}");
            }
        }
    }
    assert!(second_moments(&engines()[0], &[]).unwrap().is_empty());
}

#[test]
fn products_are_those_of_numpy_in_every_coupling_and_arithmetic() {
    for (case, k) in [("tall", 3), ("wide", 2), ("uncentred", 4)] {
        let (data, noise, eps) = (golden(case, "x"), golden(case, "noise"), golden(case, "eps"));
        let sigmas: Vec<f64> = golden(case, "sigmas").data.iter().map(|sigma| f64::from(*sigma)).collect();
        for coupling in Coupling::ALL {
            let chain = Chain { data: &data, sigmas: &sigmas, coupling, noise: LevelNoise::Given(&noise) };
            for (engine, arithmetic) in [
                (&engines()[0], Arithmetic::Precise),
                (&engines()[0], Arithmetic::Host),
                (&engines()[0], Arithmetic::Device),
                (&engines()[1], Arithmetic::Device),
            ] {
                let projector = Projector::new(engine, k).with(arithmetic);
                let found = chain.run(&projector, true, &|_| ()).unwrap();
                let what = format!("{case}, {coupling}, {arithmetic:?}");
                let tolerance = if arithmetic == Arithmetic::Precise { 1e-6 } else { 1e-4 };
                let expected = |file: &str| golden(case, &format!("{coupling}/{file}"));
                for (name, values) in [
                    ("cos_adjacent", found.adjacent.concat()),
                    ("cos_to_first", found.to_first.concat()),
                    ("log_norm", found.log_norm.clone()),
                    ("energy", found.energy_of(&eps)),
                ] {
                    let apart = apart(&values, &expected(name));
                    assert!(apart < tolerance, "{what}: {name} is {apart:e} apart");
                }
                let product = found.product();
                let apart = distance(&product.data, &expected("product").data);
                assert!(apart < tolerance as f32, "{what}: product is {apart:e} apart");
                assert_eq!(found.bases.len(), expected("basis").data.len());
            }
        }
    }
}

/// The chain of a coupling with seeded noise.
fn run(data: &Dataset, coupling: Coupling, variance: f64, steps: usize, k: usize, seed: u64) -> Projections {
    let sigmas = Schedule::Constant { variance }.sigmas(steps);
    let chain = Chain { data: &data.samples, sigmas: &sigmas, coupling, noise: LevelNoise::Seeded(seed) };
    chain.run(&Projector::new(&engines()[0], k), false, &|_| ()).unwrap()
}

/// Effective numbers of modes after 10, 40 and 120 steps, and the energies after 120.
fn modes(data: &Dataset, coupling: Coupling, variance: f64, k: usize, seed: u64) -> ([f64; 3], Vec<f64>) {
    let energies = [10, 40, 120].map(|steps| run(data, coupling, variance, steps, k, seed).expected_energy(steps));
    (std::array::from_fn(|at| participation_ratio(&energies[at])), energies[2].clone())
}

/// Fresh noise collapses, nested noise levels off, one noise keeps everything: whatever the seed. Answers which mode
/// wins.
fn assert_couplings_differ(data: &Dataset, variance: f64, k: usize, seed: u64) -> usize {
    let all = k as f64;
    let (fresh, energies) = modes(data, Coupling::Fresh, variance, k, seed);
    let (nested, _) = modes(data, Coupling::Nested, variance, k, seed);
    let (shared, _) = modes(data, Coupling::Shared, variance, k, seed);
    let what = format!("{}, seed {seed}: fresh {fresh:?}, nested {nested:?}, shared {shared:?}", data.name);
    println!("{what}, energies {energies:?}");
    // Once one mode has everything there is nothing left to lose.
    assert!(fresh[0] > fresh[1] && (fresh[1] > fresh[2] || fresh[1] < 1.03), "{what}");
    assert!(fresh[2] < 1.0 + 0.15 * (all - 1.0), "{what}");
    // Each T has noise of its own, so the plateau is rough; but there is one.
    assert!(nested.iter().all(|modes| *modes > 0.6 * all) && nested[2] > 0.8 * nested[0], "{what}");
    assert!(shared[2] > 0.95 * all, "{what}");
    (0..k).max_by(|a, b| energies[*a].total_cmp(&energies[*b])).unwrap_or(k)
}

#[test]
fn on_spiked_data_fresh_noise_collapses_on_the_first_mode_and_the_others_do_not() {
    for seed in 0..3 {
        let model = Spiked { samples: 300, dimension: 60, spikes: vec![8.0, 4.0, 2.0, 1.0], noise: 0.0, seed };
        let winner = assert_couplings_differ(&model.generate().unwrap(), 2.0, 4, 10 + seed);
        assert_eq!(winner, 0, "separated spikes: the first wins");
    }
}

#[test]
fn on_digits_fresh_noise_collapses_and_the_others_do_not() {
    let mut data = digits(Pixels::Unit).unwrap();
    data.samples = data.samples.slice(0..160);
    data.centre();
    for seed in 0..2 {
        // Near-ties among the leading eigenvalues of digits may crown a neighbour of the first.
        let winner = assert_couplings_differ(&data, 0.3, 4, seed);
        assert!(winner < 3, "{winner}");
    }
}

#[test]
fn a_thousand_levels_are_no_trouble() {
    let model = Spiked { samples: 40, dimension: 12, spikes: vec![4.0, 2.0], noise: 0.0, seed: 1 };
    let found = run(&model.generate().unwrap(), Coupling::Fresh, 4.0, 1000, 2, 3);
    assert_eq!((found.values.len(), found.adjacent.len(), found.log_norm.len()), (1001, 1000, 1001));
    // Norms far below what float32 holds, and a product that is still of norm 1.
    assert!(found.log_norm[1000] < -100.0, "{}", found.log_norm[1000]);
    let norm: f64 = found.product().data.iter().map(|value| f64::from(*value).powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-5, "{norm}");
}

#[test]
fn what_is_not_finite_or_too_much_is_an_error() {
    let projector = Projector::new(&engines()[0], 3);
    let mut data = Tensor::new([4, 5], numbers(1, 20));
    assert_eq!(
        Projector::new(&engines()[0], 6).leading(&[data.clone()]).unwrap_err().kind(),
        downhill::ErrorKind::Argument
    );
    data.data[3] = f32::NAN;
    assert_eq!(projector.leading(&[data]).unwrap_err().kind(), downhill::ErrorKind::NonFinite);
}
