//! The levels of every golden trajectory, from its own settings: where the network is called and where each step ends.
//! (The trajectories themselves need the network.)

use std::path::{Path, PathBuf};

use downhill::denoise::Level;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Course;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::settings;

/// `timesteps.json`: one entry a step; an end below 0 is the level before timestep 0.
#[derive(Deserialize)]
struct Golden {
    sampler: String,
    steps: usize,
    eta: Option<f64>,
    gamma: Option<f64>,
    mu: Option<f64>,
    sigma_max: Option<f64>,
    timesteps: Vec<f64>,
    end_timesteps: Vec<f64>,
    alpha_bar: Vec<f64>,
    end_alpha_bar: Vec<f64>,
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders whose names begin with one of `prefixes`, sorted.
fn folders(prefixes: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/trajectory");
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| prefixes.iter().any(|prefix| path.file_name().unwrap().to_string_lossy().starts_with(prefix)))
        .collect();
    folders.sort();
    folders
}

fn asked(golden: &Golden) -> Value {
    if golden.sampler == "ge" {
        return json!({
            "sampler": "ge", "gamma": golden.gamma, "mu": golden.mu, "sigma_max": golden.sigma_max,
            "steps": golden.steps,
        });
    }
    json!({"sampler": golden.sampler, "steps": golden.steps, "eta": golden.eta})
}

/// The goldens carry float64 betas, which moves sigma near timestep 0 by 1e-4 of itself.
fn agree(level: Level, timestep: f64, alpha_bar: f64) {
    assert_eq!(level.timestep.unwrap_or(-1.0), timestep);
    let sigma = ((1.0 - alpha_bar) / alpha_bar).sqrt();
    assert!(
        level.sigma == sigma || (level.sigma - sigma).abs() <= 1e-3 * sigma,
        "sigma {} at timestep {timestep}, golden {sigma}",
        level.sigma
    );
}

#[test]
fn levels_of_the_golden_trajectories() {
    let mut compared = 0;
    for folder in folders(&["ddim-", "ddpm-", "ge-"]) {
        let file = folder.join("scheduler_config.json");
        let fields: Map<String, Value> = read(&file);
        let mut config = SchedulerConfig::read(&fields, &file).unwrap_or_else(|error| panic!("{error}"));
        // The networks of those that ask for it give a variance.
        config.learns_variance = true;
        let golden: Golden = read(&folder.join("timesteps.json"));
        let table = config.noise_table(&file).unwrap();
        let Course { schedule, .. } = settings(asked(&golden)).resolve(&config, &table).unwrap();
        assert_eq!(schedule.steps().len(), golden.timesteps.len(), "{}", folder.display());
        for (index, step) in schedule.steps().iter().enumerate() {
            agree(step.from, golden.timesteps[index], golden.alpha_bar[index]);
            let end = golden.end_timesteps[index];
            let clean = golden.end_alpha_bar[index] == 1.0;
            agree(step.to, if clean { -1.0 } else { end.max(0.0) }, golden.end_alpha_bar[index]);
        }
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} golden trajectories were found");
}
