//! Clipping, watching, and what goes wrong in the loop.

use std::path::Path;

use downhill::Error;
use downhill::sample::schedule::Schedule;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Course;
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Bound, Clip, Method, sample};
use downhill::tensor::Tensor;
use serde_json::json;

use super::{Pointwise, resolve, run_quietly, settings};

const SHAPE: [usize; 3] = [1, 1, 2];

fn descent(gamma: f64) -> Descent {
    Descent { gamma, noise: Noise::Mu(0.0) }
}

fn start(values: [f32; 2]) -> Tensor {
    Tensor::new([1, 1, 1, 2], values.to_vec())
}

/// One step by hand from sigma 2 to 1 with eps = 1: x0 is x - 2, clipped to 1.
#[test]
fn clipping_derives_eps_anew_or_not() {
    let schedule = Schedule::from_sigmas(&[2.0, 1.0]).unwrap();
    for (rederive_eps, expected) in [(false, [1.0 + 1.0, 0.5 + 1.0]), (true, [1.0 + (5.0 - 1.0) / 2.0, 0.5 + 1.0])] {
        let method =
            Method { clip: Some(Clip { bound: Bound::Range(1.0), rederive_eps }), ..Method::new(descent(1.0)) };
        let mut watch = |progress: &downhill::sample::walk::Progress| {
            assert_eq!(progress.x0.data, [1.0, 0.5]);
            assert_eq!(progress.eps.data, [1.0, 1.0], "the denoiser's own answer is shown");
            Ok(())
        };
        let mut one = Pointwise(SHAPE, |_, _| 1.0);
        let no_noise = &mut |_| unreachable!();
        let end = sample(&mut one, &schedule, &method, start([5.0, 2.5]), no_noise, &mut watch).unwrap();
        assert_eq!(end.data, expected);
    }
}

/// Gradient estimation averages the eps of clipped predictions (`GEScheduler`), and keeps the new one, not the average.
#[test]
fn gradient_estimation_averages_what_was_clipped() {
    let schedule = Schedule::from_sigmas(&[4.0, 2.0, 1.0, 0.5]).unwrap();
    let method =
        Method { clip: Some(Clip { bound: Bound::Range(1.0), rederive_eps: true }), ..Method::new(descent(2.0)) };
    let model = |x: f64, sigma: f64| 0.3 * x / sigma;
    let (mut x, mut last) = (10.0f64, None);
    for pair in [4.0, 2.0, 1.0, 0.5].windows(2) {
        let x0 = (x - pair[0] * model(x, pair[0])).clamp(-1.0, 1.0);
        let eps = (x - x0) / pair[0];
        let average = last.map_or(eps, |last| 2.0 * eps - last);
        x += (pair[1] - pair[0]) * average;
        last = Some(eps);
    }
    let end = run_quietly(&mut Pointwise(SHAPE, model), &schedule, &method, start([10.0, -10.0])).unwrap();
    assert!((f64::from(end.data[0]) - x).abs() < 1e-5 && (f64::from(end.data[1]) + x).abs() < 1e-5);
}

#[test]
fn every_step_is_watched() {
    let Course { schedule, method, .. } = resolve(json!({"steps": 5})).unwrap();
    let mut seen = Vec::new();
    let mut watch = |progress: &downhill::sample::walk::Progress| {
        seen.push((progress.index, progress.step));
        Ok(())
    };
    let mut zero = Pointwise(SHAPE, |_, _| 0.0);
    sample(&mut zero, &schedule, &method, start([0.1, 0.2]), &mut |_| unreachable!(), &mut watch).unwrap();
    let expected: Vec<_> = schedule.steps().iter().copied().enumerate().collect();
    assert_eq!(seen, expected);
}

#[test]
fn non_finite_values_stop_the_run_and_name_the_step() {
    let Course { schedule, method, .. } = resolve(json!({"timesteps": [900, 549, 0], "clip": false})).unwrap();
    let cut = schedule.steps()[1].from.sigma;
    let mut broken = Pointwise(SHAPE, |x, sigma| if sigma > cut { x / sigma } else { f64::NAN });
    let error = run_quietly(&mut broken, &schedule, &method, start([1.0, 2.0])).unwrap_err();
    assert_eq!(error.kind(), downhill::ErrorKind::NonFinite);
    assert_eq!(
        error.to_string(),
        "non-finite values in the denoiser's output in step 2 of 2 (timestep 549, sigma 4.5412)"
    );
    let mut huge = Pointwise(SHAPE, |_, _| 3e38);
    let error = run_quietly(&mut huge, &schedule, &method, start([1.0, 2.0])).unwrap_err();
    assert!(error.to_string().starts_with("non-finite values in the state in step 1 of 2"), "{error}");
}

#[test]
fn a_start_state_of_another_shape_is_refused() {
    let Course { schedule, method, .. } = resolve(json!({})).unwrap();
    for shape in [vec![1, 1, 2, 1], vec![1, 2], vec![2, 1, 1, 1]] {
        let mut zero = Pointwise(SHAPE, |_, _| 0.0);
        let error = run_quietly(&mut zero, &schedule, &method, Tensor::zeros(shape)).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }));
    }
}

/// The state starts as z = noise, whatever the scale, and is shown as z only on timesteps.
#[test]
fn start_states_and_scales() {
    let noise = start([1.0, -0.5]);
    let Course { schedule: timesteps, .. } = resolve(json!({"timesteps": [765, 0]})).unwrap();
    let x = timesteps.start_state(&noise);
    assert!((f64::from(x.data[0]) - (1.0 + timesteps.start().sigma.powi(2)).sqrt()).abs() < 1e-5);
    let z = timesteps.shown(&x, timesteps.start());
    assert!(z.data.iter().zip(&noise.data).all(|(z, noise)| (z - noise).abs() < 1e-6));
    let Course { schedule: sigmas, .. } = resolve(json!({"sigmas": [3.0, 0.0]})).unwrap();
    let x = sigmas.start_state(&noise);
    assert!((x.data[0] - 10f32.sqrt()).abs() < 1e-6);
    assert_eq!(sigmas.shown(&x, sigmas.start()), x);
}

#[test]
fn a_sampler_of_betas_refuses_a_model_of_flow_matching_by_name() {
    let fields = json!({ "_class_name": "FlowMatchEulerDiscreteScheduler" });
    let config = SchedulerConfig::read(fields.as_object().unwrap(), Path::new("scheduler_config.json")).unwrap();
    let table = config.noise_table(Path::new("scheduler_config.json")).unwrap();
    let error = settings(json!({ "sampler": "pndm" })).resolve(&config, &table).unwrap_err();
    assert!(error.to_string().contains("`pndm` has no meaning for a model of flow matching"), "{error}");
    assert!(error.hint().unwrap().contains("`flow-euler`"));
}
