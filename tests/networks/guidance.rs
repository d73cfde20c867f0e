//! CFG++, guidance in an interval of noise and rescaled guidance, on the pipeline of class labels: against float64
//! (`tests/golden/guidance`) along whole paths, and the calls that they make.

use std::path::Path;

use crate::common::{distance, engines};
use downhill::checkpoint::Pipeline;
use downhill::denoise::diffusion::PredictionType;
use downhill::denoise::{
    Denoiser, Evaluations, Guidance, GuidanceInterval, GuidanceMode, GuidanceRule, Level, Network, NetworkDenoiser,
};
use downhill::formats::npy;
use downhill::nets::open;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::sample;
use downhill::tensor::Tensor;
use serde_json::json;

/// max|a-b| / max|b| of a state along a path against float64.
const TOLERANCE: f32 = 1e-4;
/// The settings of the goldens.
const PLUS: GuidanceRule = GuidanceRule { mode: GuidanceMode::CfgPlusPlus, interval: None, rescale: 0.0 };
const TIMESTEPS: [u32; 6] = [901, 751, 566, 353, 166, 0];
const STEPS: u64 = 5;

fn within() -> GuidanceRule {
    GuidanceRule { interval: Some(GuidanceInterval::new(0.3, 3.0).expect("an interval")), ..GuidanceRule::default() }
}

fn rescaled() -> GuidanceRule {
    GuidanceRule { rescale: 0.7, ..GuidanceRule::default() }
}

/// Walks both images by `sampler`, as many per call as `images`: the states z after each step, and the calls.
fn walked(
    sampler: &str,
    (scale, rule): (f64, GuidanceRule),
    prediction: PredictionType,
    images: usize,
) -> (Vec<Vec<f32>>, Evaluations) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = golden.join("dit/pipeline");
    let pipeline = Pipeline::open(folder.to_str().expect("a path")).expect("a pipeline");
    let component = pipeline.component("transformer").expect("a transformer");
    let net = open(&component.config, &component.weights).expect("a network");
    let file = pipeline.scheduler().expect("a scheduler").expect("a scheduler");
    let scheduler = SchedulerConfig::read(&file.values, &file.path).expect("a scheduler");
    let table = scheduler.noise_table(&file.path).expect("a table");
    let settings: Settings =
        serde_json::from_value(json!({ "sampler": sampler, "timesteps": TIMESTEPS })).expect("settings");
    let Course { schedule, method, .. } = settings.resolve(&scheduler, &table).expect("a schedule");

    let guidance = Guidance::classes_by(net.as_ref(), vec![207.0, 360.0], scale, rule).expect("guidance");
    let network = Network::new(&engines()[0], net, component.weights, guidance.call_size(images, (8, 8)));
    let mut network =
        NetworkDenoiser::new(network.expect("a network"), table, prediction, guidance).expect("a denoiser");
    let noise = npy::read(folder.join("runs/init_noise.npy")).expect("noise");
    let mut path = Vec::new();
    sample(
        &mut network,
        &schedule,
        &method,
        schedule.start_state(&noise),
        &mut |_| Ok(Tensor::zeros(noise.shape.clone())),
        &mut |progress| {
            let scale = progress.step.to.alpha_bar().sqrt();
            path.push(progress.x.data.iter().map(|x| (f64::from(*x) * scale) as f32).collect());
            Ok(())
        },
    )
    .expect("samples");
    (path, network.evaluations())
}

fn expected(run: &str) -> Tensor {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/guidance").join(run);
    npy::read(file.with_extension("npy")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn paths_are_those_of_the_formulas_in_float64() {
    let (eps, v) = (PredictionType::Epsilon, PredictionType::VPrediction);
    for (run, sampler, form, prediction) in [
        ("plus_ddim", "ddim", (0.6, PLUS), eps),
        ("plus_dpm", "dpm++2m", (0.6, PLUS), eps),
        ("interval", "ddim", (4.0, within()), eps),
        ("rescaled_epsilon", "ddim", (4.0, rescaled()), eps),
        ("rescaled_v", "ddim", (4.0, rescaled()), v),
    ] {
        let golden = expected(run);
        let (path, _) = walked(sampler, form, prediction, 2);
        assert_eq!(path.len(), golden.shape[0], "{run}");
        for (at, state) in path.iter().enumerate() {
            let apart = distance(state, golden.item(at));
            println!("{apart:.1e} {run}, step {at}");
            assert!(apart < TOLERANCE, "{run}, step {at}: {apart:e}");
        }
        // Each form moves the samples far beyond the tolerance.
        let scale = form.0;
        let (plain, _) = walked(sampler, (scale, GuidanceRule::default()), prediction, 2);
        let moved = distance(path.last().expect("a step"), plain.last().expect("a step"));
        assert!(moved > 100.0 * TOLERANCE, "{run}: {moved:e}");
    }
}

#[test]
fn the_batch_changes_no_bit_and_no_number_of_calls() {
    for form in [(0.6, PLUS), (4.0, within()), (4.0, rescaled())] {
        let [one, two] = [1, 2].map(|images| walked("ddim", form, PredictionType::Epsilon, images));
        assert_eq!(one, two, "{form:?}");
        // Two of the five levels are in the interval.
        let guided = if form.1.interval.is_some() { 2 } else { STEPS };
        let calls = Evaluations { conditional: 2 * STEPS, unconditional: 2 * guided, classifier: 0 };
        assert_eq!(one.1, calls, "{form:?}");
    }
}

#[test]
fn an_interval_of_all_levels_is_guidance_and_one_of_none_is_the_condition() {
    let rule = |low, high| GuidanceRule {
        interval: Some(GuidanceInterval::new(low, high).expect("an interval")),
        ..GuidanceRule::default()
    };
    let walk = |form| walked("ge", form, PredictionType::Epsilon, 2);
    let (everywhere, nowhere) = (walk((4.0, rule(0.0, f64::INFINITY))), walk((4.0, rule(100.0, 200.0))));
    assert_eq!(everywhere.0, walk((4.0, GuidanceRule::default())).0);
    assert_eq!(nowhere.0, walk((1.0, GuidanceRule::default())).0);
    assert_eq!((everywhere.1.unconditional, nowhere.1.unconditional), (2 * STEPS, 0));
}

#[test]
fn without_scale_cfg_plus_plus_is_the_path_of_the_null_class() {
    let null = walked("ddim", (0.0, GuidanceRule::default()), PredictionType::Epsilon, 2);
    for sampler in ["ddim", "unipc", "heun", "pndm", "dpm++2s"] {
        let plus = walked(sampler, (0.0, PLUS), PredictionType::Epsilon, 2);
        let cfg = walked(sampler, (0.0, GuidanceRule::default()), PredictionType::Epsilon, 2);
        let apart = plus.0.iter().zip(&cfg.0).map(|(a, b)| distance(a, b)).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{sampler}: {apart:e}");
        assert!(sampler == "ddim" || cfg.0 != null.0, "{sampler} is not DDIM");
    }
}

#[test]
fn levels_of_one_call_are_guided_one_by_one() {
    // Three levels in one call: only the middle one is in the interval.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let pipeline = Pipeline::open(golden.join("dit/pipeline").to_str().expect("a path")).expect("a pipeline");
    let component = pipeline.component("transformer").expect("a transformer");
    let sigmas = [0.2, 1.0, 5.0];
    let x = Tensor::new([3, 4, 8, 8], crate::common::numbers(5, 3 * 4 * 8 * 8));
    let eps = |scale, rule, images| {
        let net = open(&component.config, &component.weights).expect("a network");
        let guidance = Guidance::classes_by(net.as_ref(), vec![1.0, 207.0, 360.0], scale, rule).expect("guidance");
        let size = guidance.call_size(images, (8, 8));
        let network = Network::new(&engines()[0], net, component.weights.clone(), size).expect("a network");
        let table = downhill::denoise::diffusion::NoiseTable::default();
        let mut network = NetworkDenoiser::new(network, table, PredictionType::Epsilon, guidance).expect("a denoiser");
        let eps = network.eps(&x, &Level::each(&sigmas)).expect("a call");
        (eps, network.evaluations())
    };
    for images in [1, 2, 3, 4] {
        let (found, calls) = eps(4.0, within(), images);
        let ((guided, _), (condition, _)) =
            (eps(4.0, GuidanceRule::default(), images), eps(1.0, GuidanceRule::default(), images));
        assert_eq!(calls, Evaluations { conditional: 3, unconditional: 1, classifier: 0 });
        for (at, expected) in [&condition, &guided, &condition].into_iter().enumerate() {
            assert_eq!(found.item(at), expected.item(at), "image {at}, {images} per call");
        }
    }
}
