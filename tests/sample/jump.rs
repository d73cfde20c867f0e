//! Walks whose first steps are the closed form of a Gaussian.

use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::diffusion::NoiseTable;
use downhill::sample::jump::Jump;
use downhill::sample::run::{Run, Start};
use downhill::sample::schedule::Schedule;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::solvers::descent::Descent;
use downhill::sample::walk::Method;
use downhill::tensor::Tensor;
use faer::Mat;
use serde_json::json;

use super::{resolve, run_quietly, settings};

/// A Gaussian of three values; along the last it has no extent.
fn gaussian() -> Linear {
    let covariance = Mat::from_fn(3, 3, |i, j| [[2.0, 0.5, 0.0], [0.5, 0.3, 0.0], [0.0; 3]][i][j]);
    Linear::of_moments(&[1.0, -2.0, 0.5], &covariance, [3, 1, 1]).unwrap()
}

fn noise() -> Tensor {
    Tensor::new([2, 3, 1, 1], vec![0.3, -1.2, 0.7, 1.5, 0.2, -0.4])
}

#[test]
fn the_steps_above_the_start_are_left_out() {
    for kind in ["paper", "ddim", "karras", "leading"] {
        let asked = |start: f64| json!({"schedule": kind, "steps": 12, "analytic_start": start});
        let course = resolve(asked(3.0)).unwrap();
        let whole = course.whole.unwrap();
        assert_eq!(whole, resolve(json!({"schedule": kind, "steps": 12})).unwrap().schedule);
        let (walked, all) = (course.schedule.steps(), whole.steps());
        assert!(walked.len() < all.len() && !walked.is_empty(), "{kind}");
        assert_eq!(walked, &all[all.len() - walked.len()..], "{kind}");
        assert!(walked[0].from.sigma <= 3.0 && all[all.len() - walked.len() - 1].from.sigma > 3.0, "{kind}");
        // Above the first level nothing is left out.
        assert_eq!(resolve(asked(1e6)).unwrap().schedule, whole);
        let error = resolve(asked(1e-6)).unwrap_err().to_string();
        assert!(error.contains("`analytic_start` of 0.000001 leaves none of 12 steps"), "{error}");
        assert!(resolve(asked(-1.0)).is_err());
    }
    let both = json!({"steps": 12, "analytic_start": 3.0, "strength": 0.5});
    let error = resolve(both).unwrap_err().to_string();
    assert!(error.contains("both `strength` and `analytic_start`"), "{error}");
    let error = settings(json!({"analytic_start": 3.0})).on_sigmas((10.0, 0.01)).unwrap_err().to_string();
    assert!(error.contains("`analytic_start` has no meaning"), "{error}");
    let listed = settings(json!({"timesteps": [900.0, 500.0, 100.0, 0.0], "analytic_start": 2.0}));
    assert_eq!(listed.resolve(&SchedulerConfig::default(), &NoiseTable::default()).unwrap().schedule.steps().len(), 1);
}

/// The jump ends where many small steps of the Gaussian's own denoiser end.
#[test]
fn a_jump_is_the_walk_of_the_gaussian() {
    let (high, middle) = (30.0f64, 0.8f64);
    let levels = |from: f64, to: f64, steps: i32| -> Vec<f64> {
        (0..=steps).map(|at| from * (to / from).powf(f64::from(at) / f64::from(steps))).collect()
    };
    let above = levels(high, middle, 8000);
    let below = levels(middle, 0.05, 10);
    let whole = Schedule::from_sigmas(&[&above[..], &below[1..]].concat()).unwrap();
    let rest = Schedule::from_sigmas(&below).unwrap();
    let jump = Jump { gaussian: gaussian(), data: "three values".into(), whole: whole.clone() };
    assert_eq!(jump.skipped(&rest), 8000);
    let found = jump.start_state(&rest, &noise(), None);
    let early = Schedule::from_sigmas(&above).unwrap();
    let expected =
        run_quietly(&mut gaussian(), &early, &Method::new(Descent::DDIM), whole.start_state(&noise())).unwrap();
    for (found, expected) in found.data.iter().zip(&expected.data) {
        assert!((found - expected).abs() < 2e-3, "{found}, {expected}");
    }
    // A run of seeds, or of given noise, begins there.
    let run = Run {
        jump: Some(std::sync::Arc::new(jump)),
        start: Start::Noise(noise()),
        ..Run::new(rest.clone(), Method::new(Descent::DDIM), 2)
    };
    let samples = run.batches([3, 1, 1]).unwrap().next_batch(&mut gaussian(), &mut |_| Ok(())).unwrap().unwrap();
    let expected = run_quietly(&mut gaussian(), &rest, &Method::new(Descent::DDIM), found).unwrap();
    assert_eq!(samples.x, expected);
}

/// From pure noise, the state at a level is a draw of the Gaussian under that noise.
#[test]
fn the_flow_from_pure_noise_has_the_covariance_of_the_level() {
    let gaussian = gaussian();
    let sigma = 0.6;
    let columns: Vec<Vec<f32>> = (0..3)
        .map(|axis| {
            let unit: Vec<f32> = (0..3).map(|at| f32::from(u8::from(at == axis))).collect();
            gaussian.flow(&unit, f64::INFINITY, sigma)
        })
        .collect();
    let mean = gaussian.flow(&[0.0; 3], f64::INFINITY, sigma);
    let expected = [[2.36, 0.5, 0.0], [0.5, 0.66, 0.0], [0.0, 0.0, 0.36]];
    for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
        let found: f32 = columns.iter().map(|column| (column[i] - mean[i]) * (column[j] - mean[j])).sum();
        assert!((f64::from(found) - expected[i][j]).abs() < 1e-5, "{i}, {j}: {found}");
    }
    assert_eq!(mean, [1.0, -2.0, 0.5]);
}
