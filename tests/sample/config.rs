//! Reading `scheduler_config.json`.

use std::path::Path;

use downhill::denoise::diffusion::{BetaSchedule, PredictionType};
use downhill::sample::samplers::Sampler;
use downhill::sample::scheduler_config::{SchedulerConfig, Spacing};
use downhill::{Error, Result};
use serde_json::{Value, json};

pub fn read(value: Value) -> Result<SchedulerConfig> {
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
    assert_eq!(
        (
            config.levels.betas().unwrap().num_train_timesteps,
            config.levels.betas().unwrap().beta_start,
            config.levels.betas().unwrap().beta_end
        ),
        (500, 0.001, 0.03)
    );
    assert_eq!(config.levels.betas().unwrap().beta_schedule, BetaSchedule::ScaledLinear);
    assert_eq!(config.levels.betas().unwrap().trained_betas, None);
    assert_eq!((config.clip_sample, config.set_alpha_to_one), (Some(false), Some(false)));
    assert_eq!((config.clip_sample_range, config.steps_offset), (2.5, 1));
    assert_eq!(config.timestep_spacing, Some(Spacing::Trailing));
    assert_eq!(config.prediction_type, PredictionType::VPrediction);
}

#[test]
fn silence_means_the_defaults_of_diffusers() {
    let config = read(json!({})).unwrap();
    assert_eq!(config, SchedulerConfig::default());
    for sampler in [Sampler::Ddim, Sampler::Ddpm, Sampler::Ge] {
        assert!(config.clips(sampler) && config.is_clean_end(sampler).unwrap());
        assert_eq!((config.spacing(sampler), config.steps_offset), (Spacing::Leading, 0));
    }
    assert!(!config.clips(Sampler::Heun) && !config.is_clean_end(Sampler::Pndm).unwrap());
    assert_eq!((config.spacing(Sampler::Euler), config.spacing(Sampler::Pndm)), (Spacing::Linspace, Spacing::Leading));
    let heun = read(json!({"_class_name": "HeunDiscreteScheduler"})).unwrap();
    assert_eq!((heun.levels.betas().unwrap().beta_start, heun.levels.betas().unwrap().beta_end), (0.000_85, 0.012));
    let latent = read(json!({"_class_name": "LCMScheduler"})).unwrap();
    assert_eq!(latent.levels.betas().unwrap().beta_schedule, BetaSchedule::ScaledLinear);
}

#[test]
fn other_classes_lend_their_betas() {
    let config = read(json!({
        "_class_name": "PNDMScheduler", "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1,
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    }))
    .unwrap();
    assert_eq!(config.levels.betas().unwrap().beta_schedule, BetaSchedule::ScaledLinear);
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
        ("prediction_type", json!("flow_prediction")),
        ("beta_schedule", json!("quadratic")),
        ("timestep_spacing", json!("log")),
        ("timestep_spacing", json!(3)),
        ("_class_name", json!("VQDiffusionScheduler")),
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
        assert_eq!(error.kind(), downhill::ErrorKind::File);
    }
}

#[test]
fn a_class_without_a_sampler_is_noted_and_others_have_one() {
    let fields = json!({"_class_name": "OwnScheduler", "beta_schedule": "linear"});
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let notes = |asked: Value| super::settings(asked).resolve(&read(fields.clone()).unwrap(), &table).unwrap().notes;
    let found = notes(json!({"steps": 5}));
    assert!(found.len() == 1 && found[0].contains("`OwnScheduler`") && found[0].contains("`ge` instead"), "{found:?}");
    assert!(notes(json!({"steps": 5, "sampler": "euler"})).is_empty(), "the sampler is asked for");
    for (class, sampler) in [
        ("DPMSolverSinglestepScheduler", Sampler::DpmSinglestep),
        ("KDPM2DiscreteScheduler", Sampler::Kdpm2),
        ("KDPM2AncestralDiscreteScheduler", Sampler::Kdpm2Ancestral),
        ("LCMScheduler", Sampler::Lcm),
        ("DPMSolverSDEScheduler", Sampler::DpmSde),
        ("TCDScheduler", Sampler::Tcd),
        ("SASolverScheduler", Sampler::Sa),
    ] {
        let config = read(json!({"_class_name": class})).unwrap();
        assert_eq!((config.sampler(), config.unknown_class()), (sampler, None));
    }
}

/// Shifts belong to flow matching, variances to DDPM, thresholding to classes that have it.
#[test]
fn settings_without_a_say_for_a_sampler_are_passed_over() {
    let table = downhill::denoise::diffusion::NoiseTable::default();
    for (sampler, fields) in [
        ("unipc", json!({"shift_terminal": 0.1, "use_dynamic_shifting": true})),
        ("dpm++2m", json!({"use_dynamic_shifting": true, "variance_type": "learned_range"})),
        ("ddim", json!({"variance_type": "fixed_large_log"})),
        ("heun", json!({"thresholding": true, "dynamic_thresholding_ratio": 7.0})),
    ] {
        let asked = super::settings(json!({"sampler": sampler, "steps": 5}));
        let course = asked.resolve(&read(fields.clone()).unwrap(), &table);
        assert!(course.is_ok(), "{sampler} {fields}: {course:?}");
    }
    let flow = json!({"use_flow_sigmas": true, "use_dynamic_shifting": true, "prediction_type": "flow_prediction"});
    let config = read(flow).unwrap();
    let table = config.noise_table(Path::new("scheduler_config.json")).unwrap();
    let asked = super::settings(json!({"sampler": "unipc", "steps": 5}));
    let error = asked.resolve(&config, &table).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedField { field, .. } if field == "use_dynamic_shifting"), "{error}");
}

#[test]
fn pure_noise_is_refused_for_a_network_that_predicts_nothing_else() {
    let zero = |more: Value| {
        let mut fields = json!({"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config = read(fields).unwrap();
        let table = config.noise_table(Path::new("scheduler_config.json")).unwrap();
        assert!(table.sigmas()[999].is_infinite() && (table.sigma_max() - 4096.0).abs() < 0.01);
        assert_eq!((table.timestep(4095.999), table.timestep(1e9)), (999.0, 999.0));
        let resolve = |sampler: &str| {
            super::settings(json!({"sampler": sampler, "steps": 5})).resolve(&config, &table).map(|it| it.schedule)
        };
        ["ddim", "euler", "ge"].map(resolve)
    };
    let [ddim, euler, ge] = zero(json!({}));
    let error = ddim.unwrap_err();
    assert!(matches!(&error, Error::UnsupportedField { field, .. } if field == "rescale_betas_zero_snr"), "{error}");
    assert!(euler.unwrap().start().sigma < 4097.0 && ge.unwrap().start().sigma < 41.0);
    let [ddim, ..] = zero(json!({"prediction_type": "v_prediction"}));
    assert!(ddim.unwrap().start().sigma.is_infinite());
}

/// Fields of one sampler's own are honoured or refused where that sampler is used, and passed over elsewhere.
#[test]
fn solvers_refuse_by_name_what_they_would_use() {
    let table = downhill::denoise::diffusion::NoiseTable::default();
    for (sampler, field, fields) in [
        ("ddpm", "variance_type", json!({"variance_type": "learned_range"})),
        ("ddpm", "variance_type", json!({"variance_type": "learned"})),
        ("ddpm", "variance_type", json!({"variance_type": "fixed"})),
        ("heun", "use_beta_sigmas", json!({"use_beta_sigmas": true, "use_karras_sigmas": true})),
        ("euler", "interpolation_type", json!({"interpolation_type": "cubic"})),
        ("euler", "final_sigmas_type", json!({"final_sigmas_type": "middle"})),
        ("euler", "timestep_type", json!({"timestep_type": "continuous", "prediction_type": "v_prediction"})),
        ("lms", "use_exponential_sigmas", json!({"use_exponential_sigmas": true, "use_karras_sigmas": true})),
        ("dpm++2m", "solver_order", json!({"solver_order": 4})),
        ("unipc", "solver_order", json!({"solver_order": 0})),
        ("dpm++2m", "algorithm_type", json!({"algorithm_type": "data_prediction"})),
        ("dpm++2m", "algorithm_type", json!({"algorithm_type": "dpmsolver"})),
        ("deis", "algorithm_type", json!({"algorithm_type": "sde-dpmsolver++"})),
        (
            "dpm++2m",
            "solver_order",
            json!({"algorithm_type": "sde-dpmsolver", "solver_order": 3, "final_sigmas_type": "sigma_min"}),
        ),
        ("deis", "solver_type", json!({"solver_type": "rk4"})),
        ("unipc", "solver_p", json!({"solver_p": {"_class_name": "DDIMScheduler"}})),
    ] {
        let config = read(fields.clone()).unwrap();
        let asked = |sampler: &str| super::settings(json!({"sampler": sampler, "steps": 5})).resolve(&config, &table);
        let error = asked(sampler).unwrap_err();
        let Error::UnsupportedField { field: named, .. } = &error else { panic!("{sampler} {fields}: {error:?}") };
        assert_eq!(named, field, "{sampler} {fields}");
        assert!(asked("ge").is_ok() && asked("ddim").is_ok(), "{fields}");
    }
}

#[test]
fn a_scheduler_names_its_sampler() {
    for (class, sampler) in [
        (Some("EulerDiscreteScheduler"), Sampler::Euler),
        (Some("EulerAncestralDiscreteScheduler"), Sampler::EulerAncestral),
        (Some("HeunDiscreteScheduler"), Sampler::Heun),
        (Some("DPMSolverMultistepScheduler"), Sampler::DpmPlusPlus2m),
        (Some("UniPCMultistepScheduler"), Sampler::UniPc),
        (Some("DEISMultistepScheduler"), Sampler::Deis),
        (Some("PNDMScheduler"), Sampler::Pndm),
        (Some("LMSDiscreteScheduler"), Sampler::Lms),
        (Some("DDPMScheduler"), Sampler::Ge),
        (Some("DDIMScheduler"), Sampler::Ge),
        (Some("LCMScheduler"), Sampler::Lcm),
        (Some("TCDScheduler"), Sampler::Tcd),
        (Some("EDMEulerScheduler"), Sampler::EdmEuler),
        (Some("EDMDPMSolverMultistepScheduler"), Sampler::EdmDpmPlusPlus2m),
        (Some("FlowMatchEulerDiscreteScheduler"), Sampler::FlowEuler),
        (Some("FlowMatchHeunDiscreteScheduler"), Sampler::FlowHeun),
        (None, Sampler::Ge),
    ] {
        let config = read(json!({"_class_name": class})).unwrap();
        let table = config.noise_table(Path::new("scheduler_config.json")).unwrap();
        let course = |asked| super::settings(asked).resolve(&config, &table).unwrap();
        assert_eq!(course(json!({})).sampler, sampler, "{class:?}");
        assert_eq!(course(json!({"sampler": "lms"})).sampler, Sampler::Lms, "what is asked for goes first");
        let is_known = class.is_none_or(|class| Sampler::of_class(class).is_some());
        assert_eq!(course(json!({})).notes.is_empty(), is_known, "{class:?}");
        assert!(course(json!({"sampler": "lms"})).notes.is_empty(), "a sampler that is asked for is no surprise");
    }
    for sampler in Sampler::ALL {
        let asked: Sampler = serde_json::from_value(json!(sampler.name())).unwrap();
        assert_eq!(asked, sampler, "one name on the command line and in files");
    }
}

/// A form or an algorithm of another solver means the own usual one, as in diffusers' `from_config`.
#[test]
fn settings_of_another_solver_are_translated() {
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let solver = |sampler: &str, fields: Value| {
        let config = read(fields).unwrap();
        let course = super::settings(json!({"sampler": sampler, "steps": 5})).resolve(&config, &table).unwrap();
        course.method.solver.settings()
    };
    for (sampler, foreign) in [
        ("dpm++2m", json!({"solver_type": "bh1", "algorithm_type": "deis"})),
        ("unipc", json!({"solver_type": "heun"})),
        ("deis", json!({"solver_type": "midpoint", "algorithm_type": "dpmsolver++"})),
    ] {
        assert_eq!(solver(sampler, foreign), solver(sampler, json!({})), "{sampler}");
    }
    assert_ne!(solver("unipc", json!({"solver_type": "bh1"})), solver("unipc", json!({})));
    assert_ne!(solver("dpm++2m", json!({"solver_type": "heun"})), solver("dpm++2m", json!({})));
}

/// Python writes infinities by name; `ConfigFile` passes them on as strings.
#[test]
fn infinities_are_numbers() {
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let schedule = |fields: Value| {
        let asked = super::settings(json!({"sampler": "dpm++2m", "steps": 5}));
        asked.resolve(&read(fields).unwrap(), &table).map(|course| course.schedule)
    };
    assert_eq!(schedule(json!({"lambda_min_clipped": "-Infinity"})).unwrap(), schedule(json!({})).unwrap());
    let error = schedule(json!({"lambda_min_clipped": "low"})).unwrap_err();
    assert_eq!(error.to_string(), "scheduler_config.json: `lambda_min_clipped` is \"low\", expected a number");
}
