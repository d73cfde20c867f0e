//! The baselines of linear diffusion through denoiser and sampler: each gain against its closed form, and what the
//! closed forms promise: the Gaussian comes back, projections keep all of their modes alike, sequential estimates do
//! not care about steps.

use downhill::data::Spiked;
use downhill::denoise::closed_form::linear::Linear;
use downhill::study::baseline::{Baseline, Chain, Gains, Settings, baseline, work};
use downhill::study::gains::Spacing;

const MODES: usize = 6;

fn filter() -> Linear {
    let model =
        Spiked { samples: 400, dimension: 30, spikes: vec![9.0, 4.0, 2.0, 1.0, 0.5, 0.2], noise: 0.05, seed: 1 };
    let mut data = model.generate().unwrap();
    let mean = data.centre();
    Linear::wiener(&data, &mean, [30, 1, 1]).unwrap()
}

fn found(steps: &[usize], draws: usize) -> Baseline {
    let settings = Settings {
        modes: MODES,
        steps: steps.to_vec(),
        spacings: Spacing::ALL.to_vec(),
        sigma_max: 30.0,
        draws,
        seed: 4,
    };
    let calls = std::cell::Cell::new(0);
    let found = baseline(&filter(), &settings, &|some| calls.set(calls.get() + some)).unwrap();
    assert_eq!(calls.get(), work(&settings), "progress ends at its end");
    found
}

fn rows(found: &Baseline, chain: Chain) -> impl Iterator<Item = &Gains> {
    found.chains.iter().filter(move |gains| gains.chain == chain)
}

#[test]
fn every_gain_is_that_of_its_closed_form() {
    let found = found(&[1, 7, 100], 0);
    assert_eq!(found.chains.len(), 4 * 4 * 3);
    for gains in &found.chains {
        let what = format!("{}, {}, {} steps", gains.chain, gains.spacing, gains.steps);
        // Extrapolation magnifies the rounding of states in float32.
        let slack = if gains.chain == Chain::Dpm { 10.0 } else { 1.0 };
        let (worst, relative) = (gains.worst_error / slack, gains.worst_relative_error / slack);
        assert!(worst < 1e-6 && relative < 1e-4, "{what}: {gains:?}");
        assert!(gains.outside < 1e-4, "{what}: {:e} leaks into other modes", gains.outside);
        assert!((gains.participation / gains.participation_formula - 1.0).abs() < 1e-4, "{what}");
    }
}

#[test]
fn the_wiener_chain_recovers_the_gaussian_and_the_others_do_not_depend_on_steps() {
    let found = found(&[10, 100, 1000], 60);
    for spacing in [Spacing::Exponential, Spacing::Karras] {
        let ratios: Vec<(f64, f64)> = rows(&found, Chain::Wiener)
            .filter(|gains| gains.spacing == spacing)
            .map(|gains| gains.variance_ratio)
            .collect();
        // No mode has more than the data, and with steps every mode comes to have as much.
        assert!(ratios.iter().all(|(_, most)| *most < 1.0 + 1e-4), "{spacing}: {ratios:?}");
        assert!(ratios[0].0 < ratios[1].0 && ratios[1].0 < ratios[2].0 && ratios[2].0 > 0.98, "{spacing}: {ratios:?}");
    }
    let draws = found.draws.as_ref().unwrap();
    assert!((draws.mean_ratio - draws.mean_formula).abs() < 4.0 * draws.standard_error, "{draws:?}");
    assert!(draws.mean_formula > 0.98 && draws.standard_error < 0.1, "{draws:?}");
    for gains in rows(&found, Chain::Projection) {
        assert!((gains.participation - MODES as f64).abs() < 1e-4, "{gains:?}");
    }
    let sequential: Vec<f64> = rows(&found, Chain::Sequential).map(|gains| gains.participation).collect();
    let first = sequential[0];
    assert!(sequential.iter().all(|one| (one / first - 1.0).abs() < 1e-4) && first < MODES as f64 / 2.0);
    // Energies in proportion to squared variances, where the noise is far above them.
    let energies = found.variances.iter().map(|variance| variance * variance);
    let expected = energies.clone().sum::<f64>().powi(2) / energies.map(|energy| energy * energy).sum::<f64>();
    assert!((first / expected - 1.0).abs() < 0.05, "{first} {expected}");
}
