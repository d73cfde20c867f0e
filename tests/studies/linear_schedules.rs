//! The schedules that are best for a spectrum, measured: they beat the usual ones where the closed forms say so.

use crate::common::engines;
use downhill::data::Spiked;
use downhill::denoise::closed_form::linear::Linear;
use downhill::study::best::{Best, Settings, best, threshold, work};

fn found(spikes: &[f64], steps: usize, seed: u64) -> Best {
    let model = Spiked { samples: 800, dimension: 160, spikes: spikes.to_vec(), noise: 0.0, seed };
    let mut data = model.generate().unwrap();
    data.centre();
    let filter = Linear::wiener(&data, &[0.0; 160], [160, 1, 1]).unwrap();
    let largest = filter.spectrum().0[0];
    let settings = Settings {
        modes: spikes.len(),
        steps,
        chain_sigma_max: threshold(largest, 800, 160) * 0.5f64.sqrt(),
        sigma_max: 40.0,
        repeats: 3,
        probes: 6,
        seed,
    };
    let levels = std::cell::Cell::new(0);
    let found =
        best(&engines()[0], &data.samples, &filter, &settings, &|some| levels.set(levels.get() + some)).unwrap();
    assert_eq!(levels.get(), work(&settings), "progress ends at its end");
    found
}

#[test]
fn the_schedule_of_concentration_concentrates_most_when_it_is_measured() {
    for seed in [1, 2] {
        let found = found(&[8.0, 5.0, 3.0, 1.5], 12, seed);
        let (best, usual) = found.concentrated.split_first().unwrap();
        assert_eq!((best.name.as_str(), usual.len()), ("best", 4));
        for one in usual {
            assert!(best.share > one.share, "{seed}, {}: {} {}", one.name, best.share, one.share);
            assert!(best.measured_share > one.measured_share, "{seed}, {}", one.name);
        }
        for one in &found.concentrated {
            // Finite samples smooth the threshold, near which the highest levels are.
            assert!((one.measured_share - one.share).abs() < 0.12, "{seed}: {one:?}");
            let sum: f64 = one.measured_energies.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9);
        }
        assert!(best.measured_share > 0.98 && (best.measured_share - best.share).abs() < 0.01, "{best:?}");
        assert!(best.levels.is_sorted() && best.levels[0] > 0.3 * best.levels[11], "{best:?}");
    }
}

#[test]
fn what_projections_keep_is_near_its_closed_form_away_from_the_threshold() {
    let found = found(&[8.0, 5.0, 3.0, 1.5], 2, 3);
    let mut errors = Vec::new();
    for probe in &found.probes {
        for (mode, (formula, measured)) in probe.formula.iter().zip(&probe.measured).enumerate() {
            if probe.sigma < 0.7 * threshold(found.variances[mode], 800, 160) {
                let error = (formula - measured).abs();
                assert!(error < 0.1, "{}, {mode}: {formula} {measured}", probe.sigma);
                errors.push(error);
            }
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(errors.len() > 8 && mean < 0.02, "{errors:?}");
}

#[test]
fn the_schedule_of_recovery_is_nearest_to_the_flow_when_it_is_measured() {
    let found = found(&[8.0, 2.0, 0.5, 0.1], 12, 1);
    let (best, others) = found.recovered.split_first().unwrap();
    assert_eq!((best.name.as_str(), others[0].name.as_str(), others.len()), ("best", "geodesic", 5));
    for one in &found.recovered {
        assert!(one.worst_error < 1e-5, "{one:?}");
        assert!((one.measured_shortfall - one.shortfall).abs() < 1e-4 * one.shortfall.max(1.0), "{one:?}");
        assert!(one.over_flow.iter().all(|ratio| *ratio < 1.0));
        assert!(one.levels.windows(2).all(|pair| pair[0] > pair[1]) && one.levels[12] == 0.0);
    }
    for one in others {
        assert!(best.measured_shortfall < one.measured_shortfall, "{}", one.name);
    }
    assert!(others[0].shortfall < 1.2 * best.shortfall, "the limit of many steps is near");
}
