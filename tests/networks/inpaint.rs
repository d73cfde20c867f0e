//! RePaint on the device, network and walk together, against diffusers' `RePaintScheduler` in float64
//! (`tests/golden/inpaint`).

use std::path::{Path, PathBuf};

use crate::common::{distance, engines};
use downhill::checkpoint::{ConfigFile, ModelFiles};
use downhill::denoise::{Guidance, Network, NetworkDenoiser};
use downhill::formats::npy;
use downhill::nets::{CallSize, open};
use downhill::sample::inpaint::{Inpaint, Known, sample};
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::{Course, Settings};
use downhill::tensor::Tensor;

/// max|a-b| / max|b| that a state may be away.
const TOLERANCE: f32 = 1e-3;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[derive(serde::Deserialize)]
struct Case {
    steps: usize,
    jump: usize,
    resample: usize,
    eta: f64,
}

/// Follows a golden; returns how far the path is away from it at most.
fn follow(name: &str) -> f32 {
    let folder = golden(&format!("inpaint/{name}"));
    let read = |file: &str| npy::read(folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
    let case: Case = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let config = ConfigFile::read(&folder.join("scheduler_config.json")).unwrap();
    let config = SchedulerConfig::read(&config.values, &config.path).unwrap();
    let table = config.noise_table(&folder).unwrap();
    let settings = serde_json::json!({ "sampler": "ddim", "steps": case.steps, "eta": case.eta });
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let Course { schedule, method, .. } = settings.resolve(&config, &table).unwrap();
    let way = Inpaint::Repaint { resample: Some(case.resample), jump: Some(case.jump) };
    let resampling = way.resampling(schedule.steps().len()).unwrap();

    let (noise, draws, expected) = (read("init_noise.npy"), read("draws.npy"), read("path.npy"));
    let painted = read("painted.npy").data.iter().map(|value| *value > 0.5).collect();
    let known = Known { clean: read("image.npy"), painted };
    let model = ModelFiles::open(golden("unet/cifar-like").to_str()).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let size = CallSize::images(2, (noise.shape[2], noise.shape[3]));
    let network = Network::new(&engines()[0], net, model.weights, size).unwrap();
    let mut network = NetworkDenoiser::new(network, table, config.prediction_type, Guidance::default()).unwrap();

    let (mut furthest, mut drawn, mut steps) = (0.0f32, 0, 0);
    let start = schedule.start_state(&noise);
    let end = sample(
        &mut network,
        &schedule,
        &method,
        (&known, resampling),
        &noise,
        start,
        &mut |update| {
            drawn += 1;
            assert_eq!(update, drawn, "draws are numbered in the order of the walk");
            Ok(Tensor::new(noise.shape.clone(), draws.item(update as usize - 1).to_vec()))
        },
        &mut |progress| {
            assert_eq!(progress.index, steps);
            steps += 1;
            let z = schedule.shown(progress.x, progress.step.to);
            furthest = furthest.max(distance(&z.data, expected.item(progress.index)));
            Ok(())
        },
    )
    .unwrap();
    assert_eq!((steps, drawn as usize), (expected.shape[0], draws.shape[0]), "{name}");
    let mut pasted = end.clone();
    known.paste(&mut pasted);
    assert_eq!(end, pasted, "{name}: what is known is exact at the end");
    furthest
}

#[test]
fn resampling_follows_diffusers() {
    for name in ["repaint-ddim", "repaint-ddpm", "repaint-strided"] {
        let furthest = follow(name);
        println!("{furthest:.1e} {name}");
        assert!(furthest < TOLERANCE, "{name}: {furthest:e}");
    }
}
