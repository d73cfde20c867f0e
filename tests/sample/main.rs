//! Schedules and samplers against closed forms, the paper's code and diffusers; no network and no device.

mod admissible;
mod closed_form;
mod config;
mod diffusers;
mod extending;
mod goldens;
mod guidance;
mod inpaint;
mod jump;
mod restore;
mod schedules;
mod sums;
mod tables;
mod trouble;

use downhill::Result;
use downhill::denoise::diffusion::NoiseTable;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::schedule::Schedule;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::{Method, sample};
use downhill::tensor::Tensor;

/// A denoiser that acts on each value alone: `eps(x, sigma)`.
struct Pointwise<F>([usize; 3], F);

impl<F: FnMut(f64, f64) -> f64 + Send> Denoiser for Pointwise<F> {
    fn image_shape(&self) -> [usize; 3] {
        self.0
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        assert_eq!(levels.len(), x.shape[0], "one sigma an image");
        let each = x.stride();
        let values = x.data.iter().enumerate();
        let data =
            values.map(|(index, value)| (self.1)(f64::from(*value), levels[index / each].sigma) as f32).collect();
        Ok(Tensor::new(x.shape.clone(), data))
    }
}

/// Settings as their JSON.
fn settings(json: serde_json::Value) -> Settings {
    serde_json::from_value(json).unwrap()
}

/// `settings` on a model of the default configuration.
fn resolve(json: serde_json::Value) -> Result<Course> {
    settings(json).resolve(&SchedulerConfig::default(), &NoiseTable::default())
}

/// Runs without watching; `noise` is not to be called.
fn run_quietly(denoiser: &mut dyn Denoiser, schedule: &Schedule, method: &Method, x: Tensor) -> Result<Tensor> {
    let mut no_noise = |update| panic!("noise was drawn for update {update} of a deterministic sampler");
    sample(denoiser, schedule, method, x, &mut no_noise, &mut |_| Ok(()))
}
