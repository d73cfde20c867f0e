//! diffusers' own weight-free check (its `tests/schedulers`): the model answers `sample * t / (t + 1)`, the start is
//! `arange(768) / 768` reshaped (3, 8, 8, 4) and permuted to (4, 3, 8, 8).
//!
//! Each figure is sum |z| and sum `z_i (i + 1)` / 768 of the final sample, from diffusers 0.42.1 with torch 2.15.0 on a
//! CPU. Where noise is added, step k adds `((7 i + 13 k) % 11 - 5) / 5` at place i in place of the random draw.

use std::path::Path;

use downhill::Result;
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::{Denoiser, Level};
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Course;
use downhill::sample::walk::sample;
use downhill::tensor::Tensor;
use serde_json::{Value, json};

use super::settings;

/// A network seen through its noise table, as any network is.
struct Toy {
    table: NoiseTable,
    prediction: PredictionType,
}

impl Denoiser for Toy {
    fn image_shape(&self) -> [usize; 3] {
        [3, 8, 8]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let (t, alpha_bar) = (self.table.timestep(levels[0].sigma), levels[0].alpha_bar());
        assert_eq!(t.fract(), 0.0, "a network is called at the timesteps it was trained on");
        let eps = |x: &f32| {
            let z = f64::from(*x) * alpha_bar.sqrt();
            self.prediction.eps(z * t / (t + 1.0), z, alpha_bar) as f32
        };
        Ok(Tensor::new(x.shape.clone(), x.data.iter().map(eps).collect()))
    }
}

pub fn start() -> Tensor {
    let (n, c, h, w) = (4, 3, 8, 8);
    let mut data = Vec::new();
    for i in 0..n {
        for plane in 0..c {
            for row in 0..h {
                data.extend((0..w).map(|column| (((plane * h + row) * w + column) * n + i) as f32 / 768.0));
            }
        }
    }
    Tensor::new([n, c, h, w], data)
}

fn noise(step: usize) -> Tensor {
    let data = (0..768).map(|i| (((7 * i + 13 * step) % 11) as f32 - 5.0) / 5.0).collect();
    Tensor::new([4, 3, 8, 8], data)
}

/// (sum |z|, sum `z_i (i + 1)` / 768, updates whose noise was drawn)
fn figures(asked: Value, config: Value) -> (f64, f64, Vec<u32>) {
    let file = Path::new("scheduler_config.json");
    let config = SchedulerConfig::read(config.as_object().unwrap(), file).unwrap();
    let table = config.noise_table(file).unwrap();
    let Course { schedule, method, .. } = settings(asked).resolve(&config, &table).unwrap();
    let mut toy = Toy { table, prediction: config.prediction_type };
    let mut drawn = Vec::new();
    let mut noise = |update: u32| {
        drawn.push(update);
        Ok(noise(update as usize - 1))
    };
    let x = sample(&mut toy, &schedule, &method, schedule.start_state(&start()), &mut noise, &mut |_| Ok(())).unwrap();
    let z = schedule.shown(&x, schedule.end());
    let sum = z.data.iter().map(|v| f64::from(*v).abs()).sum();
    let weighted = z.data.iter().zip(1..).map(|(v, place)| f64::from(*v) * f64::from(place) / 768.0).sum();
    (sum, weighted, drawn)
}

fn check(asked: Value, config: Value, sum: f64, weighted: f64) {
    let found = figures(asked.clone(), config.clone());
    let close = |found: f64, expected: f64| (found - expected).abs() < 1e-3 + 2e-5 * expected.abs();
    assert!(
        close(found.0, sum) && close(found.1, weighted),
        "{asked} {config}: {} {}, expected {sum} {weighted}",
        found.0,
        found.1
    );
}

/// The figures that diffusers publishes.
#[test]
fn ddim_published() {
    let ten = json!({"sampler": "ddim", "steps": 10});
    check(ten.clone(), json!({}), 172.006_709, 93.431_596);
    check(ten.clone(), json!({"prediction_type": "v_prediction"}), 52.530_208, 28.533_661);
    check(ten.clone(), json!({"set_alpha_to_one": true, "beta_start": 0.01}), 149.829_454, 81.385_226);
    check(ten, json!({"set_alpha_to_one": false, "beta_start": 0.01}), 149.078_423, 80.977_276);
    let (sum, ..) = figures(json!({"sampler": "ddim", "steps": 10}), json!({}));
    assert!((sum / 768.0 - 0.223_967).abs() < 1e-5);
}

#[test]
fn ddim_spacings_and_clipping() {
    let ddim = |steps: usize| json!({"sampler": "ddim", "steps": steps});
    check(ddim(7), json!({"timestep_spacing": "trailing", "clip_sample": false}), 162.058_921, 88.028_099);
    check(ddim(9), json!({"timestep_spacing": "linspace", "clip_sample": false}), 191.548_146, 104.046_226);
    check(ddim(5), json!({"steps_offset": 1, "clip_sample_range": 0.5}), 145.433_091, 78.997_185);
    let cosine = json!({
        "timestep_spacing": "trailing", "clip_sample": false, "set_alpha_to_one": false,
        "beta_schedule": "squaredcos_cap_v2",
    });
    check(ddim(20), cosine, 483.395_873, 262.573_799);
}

#[test]
fn ddim_with_noise() {
    check(json!({"sampler": "ddim", "steps": 10, "eta": 0.5}), json!({}), 110.438_985, 47.588_435);
    let sample = json!({"prediction_type": "sample", "steps_offset": 1});
    check(json!({"sampler": "ddim", "steps": 9, "eta": 1.0}), sample, 95.484_143, 3.562_400);
}

#[test]
fn ddpm() {
    let ddpm = |steps: usize| json!({"sampler": "ddpm", "steps": steps});
    check(ddpm(10), json!({}), 88.800_112, 1.193_717);
    check(ddpm(1000), json!({}), 2.676_082, 0.357_458);
    check(ddpm(10), json!({"clip_sample": false, "variance_type": "fixed_small_log"}), 88.800_108, 1.193_717);
    check(ddpm(9), json!({"steps_offset": 1, "prediction_type": "sample"}), 98.841_226, 5.371_918);
}

#[test]
fn ddpm_with_large_variance() {
    let ddpm = |steps: usize| json!({"sampler": "ddpm", "steps": steps});
    let large = json!({"timestep_spacing": "trailing", "variance_type": "fixed_large"});
    check(ddpm(7), large, 213.754_301, 0.229_129);
    let v = json!({"prediction_type": "v_prediction", "variance_type": "fixed_large"});
    check(ddpm(10), v, 172.929_669, 0.180_605);
    let offset = json!({"steps_offset": 1, "clip_sample": false, "variance_type": "fixed_large"});
    check(ddpm(5), offset, 281.309_073, 3.338_547);
}

#[test]
fn noise_is_drawn_only_where_it_is_added() {
    let drawn = |asked| figures(asked, json!({})).2;
    assert_eq!(drawn(json!({"sampler": "ddim", "steps": 4})), [0u32; 0]);
    assert_eq!(drawn(json!({"sampler": "ddpm", "steps": 4})), [1, 2, 3], "the last step ends clean");
    assert_eq!(drawn(json!({"steps": 4, "clip": false})), [0u32; 0]);
    assert_eq!(drawn(json!({"steps": 4, "mu": 0.5})), [1, 2, 3, 4], "it ends at sigma(0), with noise");
}
