//! Timesteps and sigmas of diffusers' schedulers, from `tests/golden/schedulers.json`: 14 of them at 5 to 50 steps, in
//! three spacings, on three schedules of beta.

use std::path::Path;

use downhill::sample::schedule::Schedule;
use downhill::sample::scheduler_config::SchedulerConfig;
use serde_json::{Map, Value, json};

use super::settings;

/// A list that stands alone, or the one of a schedule of beta.
fn list(value: &Value, betas: &str) -> Vec<f64> {
    let list = value.get(betas).unwrap_or(value);
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The schedule of `class` with `fields`.
fn schedule(class: &str, fields: &Map<String, Value>, steps: &str) -> Schedule {
    let mut fields = fields.clone();
    fields.insert("_class_name".to_owned(), json!(class));
    let file = Path::new("scheduler_config.json");
    let config = SchedulerConfig::read(&fields, file).unwrap();
    let sampler = match class {
        "DDIMScheduler" => Some("ddim"),
        "DDPMScheduler" => Some("ddpm"),
        _ => None,
    };
    let asked = settings(json!({"sampler": sampler, "steps": steps.parse::<usize>().unwrap()}));
    asked.resolve(&config, &config.noise_table(file).unwrap()).unwrap().schedule
}

/// diffusers lists a timestep for each call: Heun's twice but for the first, PNDM's more often where it begins.
fn once(mut calls: Vec<f64>, class: &str, skips: bool) -> Vec<f64> {
    match class {
        "HeunDiscreteScheduler" => calls.dedup(),
        "PNDMScheduler" if skips => {
            calls.remove(1);
        }
        // Of the twelve calls, every fourth from the first is where a step begins.
        "PNDMScheduler" => calls = [&[calls[0], calls[4], calls[8]], &calls[12..]].concat(),
        _ => {}
    }
    calls
}

#[test]
fn grids_of_every_scheduler_are_those_of_diffusers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schedulers.json");
    let tables: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    for (name, table) in tables["schedulers"].as_object().unwrap() {
        let class = table["class"].as_str().unwrap();
        for (spacing, rows) in table["spacings"].as_object().unwrap() {
            for (steps, row) in rows.as_object().unwrap() {
                for (betas, beta_fields) in tables["betas"].as_object().unwrap() {
                    let mut fields = table["fields"].as_object().unwrap().clone();
                    fields.extend(beta_fields.as_object().unwrap().clone());
                    fields.insert("timestep_spacing".to_owned(), json!(spacing));
                    let schedule = schedule(class, &fields, steps);
                    let what = format!("{name} {spacing} {steps} {betas}");
                    let skips = fields.get("skip_prk_steps") == Some(&json!(true));

                    let expected = once(list(&row["timesteps"], betas), class, skips);
                    assert_eq!(schedule.steps().len(), expected.len(), "{what}");
                    for (step, expected) in schedule.steps().iter().zip(expected) {
                        // A spread of sigmas that is not rounded lies between timesteps, where the network's are looked
                        // up.
                        let Some(found) = step.from.timestep else { continue };
                        assert!((found - expected).abs() < 1e-4, "{what}: timestep {found}, expected {expected}");
                    }
                    if let Some(sigmas) = row.get("sigmas") {
                        let expected = once(list(sigmas, betas), class, skips);
                        let found: Vec<f64> = schedule.levels().iter().map(|level| level.sigma).collect();
                        assert_eq!(found.len(), expected.len(), "{what}");
                        for (found, expected) in found.iter().zip(expected) {
                            assert!(
                                (found - expected).abs() <= 2e-6 * expected,
                                "{what}: sigma {found}, expected {expected}"
                            );
                        }
                    }
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 14 * 3 * 4 * 3);
}
