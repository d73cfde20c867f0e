//! Reading `scheduler_config.json`.

use std::path::Path;

use downhill::denoise::diffusion::{BetaSchedule, PredictionType};
use downhill::sample::catalogue::Sampler;
use downhill::sample::scheduler_config::{SchedulerConfig, Spacing, VarianceType};
use downhill::{Error, Result};
use serde_json::{Value, json};

fn read(value: Value) -> Result<SchedulerConfig> {
    SchedulerConfig::read(value.as_object().unwrap(), Path::new("scheduler_config.json"))
}

#[test]
fn every_field_is_read() {
    let config = read(json!({
        "_class_name": "DDPMScheduler", "_diffusers_version": "0.42.1", "num_train_timesteps": 500,
        "beta_start": 0.001, "beta_end": 0.03, "beta_schedule": "scaled_linear", "trained_betas": null,
        "clip_sample": false, "clip_sample_range": 2.5, "set_alpha_to_one": false, "timestep_spacing": "trailing",
        "steps_offset": 1, "prediction_type": "v_prediction", "variance_type": "fixed_large", "thresholding": false,
        "rescale_betas_zero_snr": false, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0,
    }))
    .unwrap();
    assert_eq!(config.class_name.as_deref(), Some("DDPMScheduler"));
    assert_eq!((config.betas.num_train_timesteps, config.betas.beta_start, config.betas.beta_end), (500, 0.001, 0.03));
    assert_eq!(config.betas.beta_schedule, BetaSchedule::ScaledLinear);
    assert_eq!(config.betas.trained_betas, None);
    assert_eq!((config.clip_sample, config.set_alpha_to_one), (Some(false), Some(false)));
    assert_eq!((config.clip_sample_range, config.steps_offset), (2.5, 1));
    assert_eq!(config.timestep_spacing, Some(Spacing::Trailing));
    assert_eq!(config.prediction_type, PredictionType::VPrediction);
    assert_eq!(config.variance_type, VarianceType::FixedLarge);
}

#[test]
fn silence_means_the_defaults_of_diffusers() {
    let config = read(json!({})).unwrap();
    assert_eq!(config, SchedulerConfig::default());
    for sampler in [Sampler::Ddim, Sampler::Ddpm, Sampler::Ge] {
        assert!(config.clips(sampler) && config.is_clean_end(sampler));
        assert_eq!((config.spacing(sampler), config.steps_offset), (Spacing::Leading, 0));
    }
    assert!(!config.clips(Sampler::Heun) && !config.is_clean_end(Sampler::Pndm));
    assert_eq!((config.spacing(Sampler::Euler), config.spacing(Sampler::Pndm)), (Spacing::Linspace, Spacing::Leading));
    let heun = read(json!({"_class_name": "HeunDiscreteScheduler"})).unwrap();
    assert_eq!((heun.betas.beta_start, heun.betas.beta_end), (0.000_85, 0.012));
    let latent = read(json!({"_class_name": "LCMScheduler"})).unwrap();
    assert_eq!(latent.betas.beta_schedule, BetaSchedule::ScaledLinear);
}

#[test]
fn other_classes_lend_their_betas() {
    let config = read(json!({
        "_class_name": "PNDMScheduler", "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1,
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    }))
    .unwrap();
    assert_eq!(config.betas.beta_schedule, BetaSchedule::ScaledLinear);
    assert!(config.set_alpha_to_one == Some(false) && config.steps_offset == 1);
    assert!(read(json!({"_class_name": "OwnScheduler", "beta_schedule": "linear"})).is_ok());
}

#[test]
fn trained_betas_replace_the_schedule() {
    let config = read(json!({
        "num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.3], "beta_schedule": "a note of the author",
    }))
    .unwrap();
    let table = config.noise_table(Path::new("scheduler_config.json")).unwrap();
    let expected = [0.9f64, 0.9 * 0.8, 0.9 * 0.8 * 0.7];
    assert!(table.alpha_bars().iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
}

#[test]
fn what_would_change_the_samples_is_refused_by_name() {
    for (field, value) in [
        ("rescale_betas_zero_snr", json!(true)),
        ("thresholding", json!(true)),
        ("use_flow_sigmas", json!(true)),
        ("prediction_type", json!("flow_prediction")),
        ("beta_schedule", json!("sigmoid")),
        ("variance_type", json!("learned_range")),
        ("variance_type", json!("fixed_large_log")),
        ("timestep_spacing", json!("log")),
        ("timestep_spacing", json!(3)),
        ("_class_name", json!("FlowMatchEulerDiscreteScheduler")),
    ] {
        let error = read(json!({field: value})).unwrap_err();
        let Error::UnsupportedField { field: named, value: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!((named.as_str(), found.as_str()), (field, value.to_string().as_str()));
        assert!(error.hint().is_some());
    }
}

#[test]
fn malformed_fields_are_named() {
    for (field, value, expected) in [
        ("beta_start", json!("small"), "`beta_start` is \"small\", expected a number"),
        ("clip_sample", json!(1), "`clip_sample` is 1, expected true or false"),
        ("steps_offset", json!(-1), "`steps_offset` is -1, expected a whole number, not negative"),
        ("trained_betas", json!([0.1, "x"]), "`trained_betas` is [0.1,\"x\"], expected a list of numbers"),
        ("_class_name", json!(7), "`_class_name` is 7, expected a string"),
        ("clip_sample_range", json!(-1.0), "`clip_sample_range` is -1.0, expected a number above 0"),
    ] {
        let error = read(json!({field: value})).unwrap_err();
        assert_eq!(error.to_string(), format!("scheduler_config.json: {expected}"));
        assert_eq!(error.exit_code(), 4);
    }
}
