//! Whole sampling paths on the device, network and sampler together, against diffusers and the paper's formula in float64
//! (`tests/golden/trajectory`).

mod common;

use std::path::{Path, PathBuf};

use common::{distance, engines};
use downhill::Error;
use downhill::checkpoint::{ConfigFile, Model};
use downhill::denoise::network::Network;
use downhill::report::npy;
use downhill::sample::samplers::sample;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Settings;
use downhill::tensor::Tensor;

/// max|a-b| / max|b| that a state may be away.
const TOLERANCE: f32 = 1e-3;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The settings that a golden's `timesteps.json` names.
fn settings(case: &serde_json::Map<String, serde_json::Value>) -> Settings {
    let kept = ["sampler", "steps", "eta", "gamma"].into_iter().filter(|field| case.contains_key(*field));
    let asked: serde_json::Map<_, _> = kept.map(|field| (field.to_owned(), case[field].clone())).collect();
    serde_json::from_value(asked.into()).expect("settings")
}

/// Samples as the golden in `folder` was sampled; answers how far path and end are from it.
fn follow(folder: &Path) -> Result<(f32, f32), Error> {
    let config = ConfigFile::read(&folder.join("scheduler_config.json"))?;
    let config = SchedulerConfig::read(&config.values, &config.path)?;
    let case = ConfigFile::read(&folder.join("timesteps.json"))?.values;
    let table = config.noise_table(folder)?;
    let (schedule, method) = settings(&case).resolve(&config, &table)?;

    let noise = npy::read(golden("trajectory/init_noise.npy"))?;
    let step_noise = npy::read(golden("trajectory/step_noise.npy"))?;
    let model = Model::open(golden("unet/cifar-like").to_str())?;
    let mut network = Network::new(
        &engines()[0],
        model,
        table,
        config.prediction_type,
        noise.shape[0],
        (noise.shape[2], noise.shape[3]),
    )?;

    let expected = npy::read(folder.join("path.npy"))?;
    let mut furthest = 0.0f32;
    let end = sample(
        &mut network,
        &schedule,
        &method,
        schedule.start_state(&noise),
        &mut |step| Ok(Tensor::new(noise.shape.clone(), step_noise.item(step).to_vec())),
        &mut |progress| {
            let state = schedule.shown(progress.x, progress.step.to);
            furthest = furthest.max(distance(&state.data, expected.item(progress.index)));
            Ok(())
        },
    )?;
    let last = npy::read(folder.join("final.npy"))?;
    Ok((furthest, distance(&schedule.shown(&end, schedule.end()).data, &last.data)))
}

#[test]
fn paths_agree_with_diffusers_and_the_paper() {
    let mut followed = 0;
    for entry in std::fs::read_dir(golden("trajectory")).expect("goldens") {
        let folder = entry.expect("entry").path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !["ddim-", "ddpm-", "ge-"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match follow(&folder) {
            Ok((path, end)) => {
                println!("{path:.1e} {end:.1e} {name}");
                assert!(path < TOLERANCE && end < TOLERANCE, "{name}: path {path:e}, end {end:e} away");
                followed += 1;
            }
            // What would change the samples and is not supported is refused by name.
            Err(Error::UnsupportedField { field, .. }) => {
                assert!(["thresholding", "rescale_betas_zero_snr"].contains(&field.as_str()), "{name}: {field}");
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(followed >= 25, "only {followed} trajectories were found");
}
