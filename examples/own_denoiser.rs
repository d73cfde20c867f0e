//! A denoiser that is written here, sampled by the same loop as a network: the posterior mean of points on a circle.
//!
//! ```text
//! cargo run --example own_denoiser
//! ```

use downhill::denoise::{Denoiser, Level};
use downhill::sample::run::Run;
use downhill::sample::settings::Settings;
use downhill::tensor::Tensor;

/// Points of the unit circle, as images of two channels and one pixel.
struct Circle {
    points: Vec<[f64; 2]>,
}

impl Denoiser for Circle {
    fn image_shape(&self) -> [usize; 3] {
        [2, 1, 1]
    }

    /// eps = (x - E[x0 | x]) / sigma, where each point weighs by its distance from x.
    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> downhill::Result<Tensor> {
        let mut eps = x.clone();
        for (x, level) in eps.data.chunks_mut(2).zip(levels) {
            let [a, b] = [f64::from(x[0]), f64::from(x[1])];
            let weight = |[p, q]: [f64; 2]| (-((a - p).powi(2) + (b - q).powi(2)) / (2.0 * level.sigma.powi(2))).exp();
            let total: f64 = self.points.iter().map(|point| weight(*point)).sum();
            let mean = |axis: usize| self.points.iter().map(|point| weight(*point) * point[axis]).sum::<f64>() / total;
            (x[0], x[1]) = (((a - mean(0)) / level.sigma) as f32, ((b - mean(1)) / level.sigma) as f32);
        }
        Ok(eps)
    }
}

fn main() -> downhill::Result<()> {
    let angles = (0..360).map(|degree| f64::from(degree).to_radians());
    let mut circle = Circle { points: angles.map(|angle| [angle.cos(), angle.sin()]).collect() };
    let course = Settings { steps: Some(20), ..Settings::default() }.on_sigmas((10.0, 0.02))?;
    let run = Run { seed: 7, ..Run::new(course.schedule, course.method, 8) };
    let mut batches = run.batches(circle.image_shape())?;
    while let Some(samples) = batches.next_batch(&mut circle, &mut |_| Ok(())).transpose()? {
        for point in samples.x.data.chunks(2) {
            println!("({:7.4}, {:7.4}), radius {:.4}", point[0], point[1], point[0].hypot(point[1]));
        }
    }
    Ok(())
}
