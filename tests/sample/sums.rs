//! diffusers' own weight-free checks of all its schedulers (its `tests/schedulers`), from
//! `tests/golden/schedulers.json`: the model answers `sample * t / (t + 1)`, the figures are sum and mean of |sample|
//! at the end.

use std::path::Path;

use downhill::Result;
use downhill::denoise::diffusion::{NoiseTable, PredictionType, alpha_bar_of};
use downhill::denoise::{Denoiser, Level};
use downhill::noise::{Generator, Noise};
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Course;
use downhill::sample::walk::Walk;
use downhill::tensor::Tensor;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{diffusers, settings};

/// An entry of `sums`.
#[derive(Deserialize)]
struct Check {
    class: String,
    fields: Map<String, Value>,
    steps: usize,
    sum_abs: f64,
    mean_abs: f64,
}

/// The toy model behind the table of its scheduler.
struct Toy {
    table: NoiseTable,
    prediction: PredictionType,
    /// Those checks step from `scale_model_input` of the state: the scaled state is the state from then on.
    overwrites: bool,
    /// Calls since the state was scaled.
    calls: usize,
}

impl Denoiser for Toy {
    fn image_shape(&self) -> [usize; 3] {
        [3, 8, 8]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigma = levels[0].sigma;
        let t = levels[0].called_at(&self.table);
        let alpha_bar = alpha_bar_of(sigma);
        let is_scaled = self.overwrites && self.calls == 0;
        self.calls += 1;
        let eps = |x: &f32| {
            let z = f64::from(*x) * if is_scaled { 1.0 } else { alpha_bar.sqrt() };
            self.prediction.eps(z * t / (t + 1.0), z, alpha_bar) as f32
        };
        Ok(Tensor::new(x.shape.clone(), x.data.iter().map(eps).collect()))
    }
}

/// Sum of |z| after the run of `sum`.
fn run(sum: &Check) -> f64 {
    let file = Path::new("scheduler_config.json");
    let mut fields = sum.fields.clone();
    fields.insert("_class_name".to_owned(), json!(sum.class));
    let config = SchedulerConfig::read(&fields, file).unwrap();
    let table = config.noise_table(file).unwrap();
    let sampler = match sum.class.as_str() {
        "DDIMScheduler" => Some("ddim"),
        "DDPMScheduler" => Some("ddpm"),
        _ => None,
    };
    let Course { schedule, method, .. } =
        settings(json!({"sampler": sampler, "steps": sum.steps})).resolve(&config, &table).unwrap();
    let overwrites = ["Euler", "Heun", "LMS"].iter().any(|name| sum.class.starts_with(name));
    let mut toy = Toy { table, prediction: config.prediction_type, overwrites, calls: 0 };
    let mut drawn = Noise::new(Generator::Torch, 0, 4, 192);
    // The checks do not draw a start state: their first update takes the first draw.
    let mut noise = |update: u32| Ok(Tensor::new([4, 3, 8, 8], drawn.step(update - 1, &[0, 1, 2, 3])));
    let mut x = schedule.start_state(&diffusers::start());
    let mut walk = Walk::new(&schedule, &method);
    for step in schedule.steps() {
        toy.calls = 0;
        if overwrites {
            let scale = step.from.alpha_bar().sqrt();
            x.data.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
        x = walk.step(x, &mut toy, &mut noise).unwrap().x;
    }
    let z = schedule.shown(&x, schedule.end());
    z.data.iter().map(|value| f64::from(*value).abs()).sum()
}

#[test]
fn sums_of_every_scheduler_are_those_of_diffusers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schedulers.json");
    let tables: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let sums: Map<String, Value> = tables["sums"].as_object().unwrap().clone();
    assert_eq!(sums.len(), 16);
    for (name, sum) in sums {
        let sum: Check = serde_json::from_value(sum).unwrap();
        let found = run(&sum);
        println!("{name}: {found}, diffusers {}", sum.sum_abs);
        assert!((found - sum.sum_abs).abs() < 2e-4 * sum.sum_abs + 1e-5, "{name}: {found}, expected {}", sum.sum_abs);
        assert!((found / 768.0 - sum.mean_abs).abs() < 2e-4 * sum.mean_abs + 1e-7, "{name}");
    }
}

/// The same walk as its figures in diffusers' own files, which have them to fewer digits.
#[test]
fn published_sums() {
    for (class, fields, steps, expected) in [
        ("PNDMScheduler", json!({}), 10, 198.1318),
        (
            "HeunDiscreteScheduler",
            json!({"num_train_timesteps": 1100, "beta_start": 1e-4, "beta_end": 0.02}),
            10,
            0.1233,
        ),
        ("LMSDiscreteScheduler", json!({"num_train_timesteps": 1100}), 10, 1006.388),
        ("UniPCMultistepScheduler", json!({"final_sigmas_type": "sigma_min"}), 10, 0.2464 * 768.0),
        ("DEISMultistepScheduler", json!({}), 10, 0.239_16 * 768.0),
    ] {
        let sum = Check {
            class: class.to_owned(),
            fields: fields.as_object().unwrap().clone(),
            steps,
            sum_abs: expected,
            mean_abs: expected / 768.0,
        };
        assert!((run(&sum) / expected - 1.0).abs() < 1e-3, "{class}");
    }
}
