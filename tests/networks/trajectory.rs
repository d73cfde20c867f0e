//! Whole sampling paths on the device, network and sampler together, against diffusers and the paper's formula in
//! float64 (`tests/golden/trajectory`).

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::{distance, engines};
use downhill::Error;
use downhill::checkpoint::{ConfigFile, ModelFiles};
use downhill::denoise::diffusion::NoiseTable;
use downhill::denoise::{Denoiser, Guidance, Level, Network, NetworkDenoiser};
use downhill::formats::npy;
use downhill::sample::walk::sample;

use downhill::nets::{CallSize, open};
use downhill::sample::schedule::Schedule;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::{Course, Settings};
use downhill::tensor::Tensor;

/// max|a-b| / max|b| that a state may be away.
const TOLERANCE: f32 = 1e-3;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A run, as a golden's `timesteps.json` describes it.
#[derive(serde::Deserialize)]
struct Case {
    sampler: String,
    network: String,
    steps: usize,
    eta: Option<f64>,
    gamma: Option<f64>,
    mu: Option<f64>,
    sigma_max: Option<f64>,
    clip: Option<bool>,
    /// The sigmas of all levels, in place of a schedule.
    levels: Option<Vec<f64>>,
    /// The places of all levels among those of a consistency model.
    places: Option<Vec<f64>>,
    /// The share of the steps that is walked, from the image of [`start`] under noise.
    strength: Option<f64>,
    network_calls: Vec<f64>,
    /// The scale of the path: `x`, `z` or `flow`; by default that of the sampler's family.
    scale: Option<String>,
    /// The entry of the path at which each step ends; by default the rule of [`Case::entry`].
    step_ends: Option<Vec<usize>>,
}

impl Case {
    /// The sampler is named where it is not that of the scheduler's class.
    fn settings(&self) -> Settings {
        let sampler = ["ge", "ddim", "ddpm"].contains(&self.sampler.as_str()).then_some(&self.sampler);
        let asked = serde_json::json!({
            "sampler": sampler, "steps": self.steps, "eta": self.eta, "gamma": self.gamma, "mu": self.mu,
            "sigma_max": self.sigma_max, "strength": self.strength, "clip": self.clip, "sigmas": self.levels,
            "timesteps": self.places,
        });
        serde_json::from_value(asked).expect("settings")
    }

    /// The path holds one state per network call; a step ends with its last.
    fn entry(&self, step: usize, steps: usize) -> usize {
        if let Some(ends) = &self.step_ends {
            return ends[step];
        }
        let begun: &[usize] = match (self.sampler.split('-').next(), self.network_calls.len() - steps) {
            (Some("heun"), _) => return (2 * step + 1).min(2 * steps - 2),
            (Some("pndm"), 1) => &[1],
            (Some("pndm"), 9) => &[3, 7, 11],
            _ => &[],
        };
        begun.get(step).copied().unwrap_or(step + self.network_calls.len() - steps)
    }

    /// The factor that turns x at `level` into a state of the path: diffusers' schedulers in sigma hold x, those of
    /// flow matching (1 - s) x with sigma = s / (1 - s), the others z.
    fn scale(&self, level: Level) -> f64 {
        let in_x = || ["euler", "heun", "lms"].iter().any(|name| self.sampler.starts_with(name));
        match self.scale.as_deref() {
            _ if level.sigma.is_infinite() => 1.0,
            Some("flow") => 1.0 / (1.0 + level.sigma),
            Some("x") => 1.0,
            None if in_x() => 1.0,
            _ => level.alpha_bar().sqrt(),
        }
    }
}

/// Notes what a network is called with.
struct Noted<'a> {
    network: NetworkDenoiser<'a>,
    timesteps: Vec<f64>,
    table: NoiseTable,
}

impl Denoiser for Noted<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.network.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor, Error> {
        self.timesteps.push(levels[0].called_at(&self.table));
        self.network.eps(x, levels)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor), Error> {
        self.timesteps.push(levels[0].called_at(&self.table));
        self.network.parts(x, levels)
    }

    fn variance(&self) -> Option<&Tensor> {
        self.network.variance()
    }
}

/// The start states: noise, or an image under it where the walk begins in mid-schedule.
fn start(schedule: &Schedule, case: &Case, noise: &Tensor, step_noise: &Tensor) -> Tensor {
    if case.strength.is_none() {
        return schedule.start_state(noise);
    }
    let draws = step_noise.item(step_noise.shape[0] - 1);
    let image = |draw: &f32| 0.5 * f64::from(*draw).tanh();
    let values = noise.data.iter().zip(draws.iter().map(image));
    let x = values.map(|(noise, image)| (image + schedule.start().sigma * f64::from(*noise)) as f32);
    Tensor::new(noise.shape.clone(), x.collect::<Vec<_>>())
}

/// Samples as the golden in `folder` was sampled; answers how far path and end are from it.
fn follow(folder: &Path) -> Result<(f32, f32), Error> {
    let config = ConfigFile::read(&folder.join("scheduler_config.json"))?;
    let mut config = SchedulerConfig::read(&config.values, &config.path)?;
    let case = ConfigFile::read(&folder.join("timesteps.json"))?.values;
    let case: Case = serde_json::from_value(case.into()).expect("a case");
    let table = config.noise_table(folder)?;
    let model = ModelFiles::open(golden(&case.network).to_str())?;
    let net = open(&model.config, &model.weights)?;
    config.learns_variance = net.learns_variance();
    let Course { schedule, method, .. } = case.settings().resolve(&config, &table)?;
    let steps = schedule.steps().len();

    let expected = npy::read(folder.join("path.npy"))?;
    let images = expected.shape[1];
    let beside = |name: &str| match case.network.as_str() {
        "unet/cifar-like" => golden(&format!("trajectory/{name}.npy")),
        other => golden(&format!("trajectory/{name}-{}.npy", other.trim_start_matches("unet/"))),
    };
    let noise = npy::read(beside("init_noise"))?.slice(0..images);
    let step_noise = npy::read(beside("step_noise"))?;
    let size = (noise.shape[2], noise.shape[3]);
    let network = Network::new(&engines()[0], net, model.weights, CallSize::images(images, size))?;
    let network = NetworkDenoiser::new(network, table.clone(), config.prediction_type, Guidance::default())?;
    let mut network = Noted { network, timesteps: Vec::new(), table };

    let held = |x: &Tensor, level: Level| -> Vec<f32> {
        let scale = case.scale(level);
        x.data.iter().map(|x| (f64::from(*x) * scale) as f32).collect()
    };
    let mut furthest = 0.0f32;
    let values = noise.data.len();
    // Step and draw: draw k of step i is entry i + k steps.
    let drawing = Mutex::new((0, 0));
    let end = sample(
        &mut network,
        &schedule,
        &method,
        start(&schedule, &case, &noise, &step_noise),
        &mut |_| {
            let mut drawing = drawing.lock().unwrap();
            let (step, draw) = *drawing;
            drawing.1 += 1;
            let normals = step_noise.item(step + draw * steps)[..values].to_vec();
            Ok(Tensor::new(noise.shape.clone(), normals))
        },
        &mut |progress| {
            *drawing.lock().unwrap() = (progress.index + 1, 0);
            let state = held(progress.x, progress.step.to);
            furthest = furthest.max(distance(&state, expected.item(case.entry(progress.index, steps))));
            Ok(())
        },
    )?;
    let calls = network.timesteps.iter().zip(&case.network_calls);
    assert_eq!(network.timesteps.len(), case.network_calls.len(), "{}", folder.display());
    for (found, called) in calls {
        // Between whole timesteps, sigma is interpolated in one way or another.
        assert!((found - called).abs() < 0.06, "{}: called at {found}, golden {called}", folder.display());
    }
    let last = npy::read(folder.join("final.npy"))?;
    Ok((furthest, distance(&held(&end, schedule.end()), &last.data)))
}

#[test]
fn paths_agree_with_diffusers_and_the_paper() {
    let mut followed = 0;
    let mut far = Vec::new();
    let only = std::env::var("DOWNHILL_TRAJECTORY").unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(golden("trajectory")).expect("goldens").map(|entry| entry.expect("entry").path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        match follow(folder) {
            Ok((path, end)) => {
                println!("{path:.1e} {end:.1e} {name}");
                if path >= TOLERANCE || end >= TOLERANCE {
                    far.push(format!("{name}: path {path:e}, end {end:e} away"));
                }
                followed += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(far.is_empty(), "{far:#?}");
    assert!(followed >= 225 || !only.is_empty(), "only {followed} trajectories were found");
}
