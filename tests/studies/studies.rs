//! The linear studies against theory: Nadler's phase transition, angles under little noise, equation 25.

use crate::common::engines;
use downhill::data::Spiked;
use downhill::study::chain::{Arithmetic, Coupling, Projector, Schedule};
use downhill::study::energy::{self, Case};
use downhill::study::{angles, transition};

fn measured(arithmetic: Arithmetic, gammas: &[f64], ratios: &[f64]) -> Vec<transition::Point> {
    let projector = Projector::new(&engines()[0], 1).with(arithmetic);
    let settings =
        transition::Settings { samples: 600, gammas: gammas.to_vec(), ratios: ratios.to_vec(), draws: 24, seed: 5 };
    transition::run(&projector, &settings, &|_| ()).unwrap().concat()
}

#[test]
fn the_transition_is_where_nadler_has_it_within_two_standard_errors() {
    // Ratios away from the thresholds 0.45 and 1.
    for point in measured(Arithmetic::Host, &[0.2, 1.0], &[3.0, 6.0]) {
        let (cos, value) = (point.cos_squared, point.eigenvalue);
        let away = |mean: f64, theory: f64, error: f64| (mean - theory).abs() / error;
        let errors = [
            away(cos.mean, point.cos_squared_theory, cos.standard_error),
            away(value.mean, point.eigenvalue_theory, value.standard_error),
        ];
        assert!(errors.iter().all(|error| *error < 2.0), "{errors:?} standard errors: {point:?}");
        assert!(cos.standard_error < 0.01 && value.standard_error < 0.03 * value.mean, "{point:?}");
    }
}

#[test]
fn below_the_threshold_nothing_is_known_of_the_signal() {
    for point in measured(Arithmetic::Device, &[0.5], &[0.2]) {
        assert_eq!(point.cos_squared_theory, 0.0);
        assert!(point.cos_squared.mean < 0.03, "{point:?}");
        // The edge of a finite spectrum lies below the limit, by about n^(-2/3).
        assert!((point.eigenvalue.mean / point.eigenvalue_theory - 1.0).abs() < 0.05, "{point:?}");
    }
}

#[test]
fn components_turn_as_the_expansion_for_little_noise_says() {
    let model = Spiked { samples: 800, dimension: 120, spikes: vec![9.0, 4.0, 1.5], noise: 0.0, seed: 4 };
    let data = model.generate().unwrap().samples;
    let sigmas = Schedule::Constant { variance: 0.2 }.sigmas(4);
    let projector = Projector::new(&engines()[0], 3);
    for coupling in Coupling::ALL {
        let settings = angles::Settings { data: &data, sigmas: &sigmas, coupling, draws: 6, seed: 1 };
        let found = angles::run(&projector, &settings, &|_| ()).unwrap();
        assert_eq!((found.sines.len(), found.summary.len(), found.summary[0].len()), (6, 5, 3));
        for t in 1..5 {
            for i in 0..3 {
                let (mean, theory) = (found.summary[t][i].mean, found.expansion[t][i]);
                assert!(
                    (mean / theory - 1.0).abs() < 0.12,
                    "{coupling}, level {t}, component {i}: {mean}, not {theory}"
                );
                // Nadler's component has no neighbours, which only add to the angle.
                assert!(found.nadler[t][i] < 1.1 * mean, "{coupling}, level {t}, component {i}");
            }
        }
        let last = &found.summary[4];
        assert!(last[0].mean < last[1].mean && last[1].mean < last[2].mean, "{coupling}: low components turn less");
    }
}

#[test]
fn injected_noise_has_the_variances_of_equation_25_where_bases_hardly_mix() {
    let model = Spiked { samples: 1000, dimension: 50, spikes: vec![30.0, 10.0, 3.0], noise: 0.0, seed: 2 };
    let data = model.generate().unwrap().samples;
    let projector = Projector::new(&engines()[0], 3);
    let case = Case { coupling: Coupling::Fresh, schedule: Schedule::Constant { variance: 1.0 }, steps: 20 };
    let found = energy::run(&projector, &data, case, 7, &|_| ()).unwrap();
    for (measured, theory) in found.injected.iter().zip(&found.injected_theory) {
        // What a component gives to its neighbours the equation counts as lost.
        let kept = measured / theory;
        assert!((0.999..1.08).contains(&kept), "{:?} {:?}", found.injected, found.injected_theory);
    }
    // Noise that comes in at each step keeps the modes alive.
    assert!(found.injected_participation > found.participation);
    // A thousand samples against their mean.
    for (sampled, energy) in found.sampled.iter().zip(&found.energy) {
        assert!((sampled - energy).abs() < 4.0 * (2.0f64 / 1000.0).sqrt() * energy.max(0.02), "{found:?}");
    }
}
