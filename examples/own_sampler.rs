//! A sampler that is written here, on the embedded network: Ralston's method of order 2, beside gradient estimation.
//!
//! ```text
//! cargo run --example own_sampler -- ralston.png
//! ```

use downhill::denoise::Level;
use downhill::formats::images::{WHITE, grid, square_columns};
use downhill::formats::png::write_png;
use downhill::sample::settings::Settings;
use downhill::sample::walk::{Method, Oracle, Position, Solver, Stepper, Update, combine};
use downhill::tensor::Tensor;
use downhill::{Engine, Model, Options};

/// Two slopes: a quarter of the one at the start of a step, three quarters of the one at two thirds of it.
#[derive(Clone, Debug)]
struct Ralston;

impl Solver for Ralston {
    fn begin(&self) -> Box<dyn Stepper> {
        Box::new(Self)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("order", "2".to_owned())]
    }
}

impl Stepper for Ralston {
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> downhill::Result<Update> {
        let (from, to) = (position.step().from, position.step().to);
        let first = oracle.estimate(&x, from)?;
        let third = (to.sigma - from.sigma) / 3.0;
        let between = Level::at_sigma(from.sigma + 2.0 * third);
        let second = oracle.estimate(&combine(&[(1.0, &x), (2.0 * third, &first.eps)]), between)?;
        let x = combine(&[(1.0, &x), (0.75 * third, &first.eps), (2.25 * third, &second.eps)]);
        Ok(Update { eps: first.raw, x0: first.x0, x })
    }
}

fn main() -> downhill::Result<()> {
    let output = std::env::args().nth(1).unwrap_or_else(|| "ralston.png".to_owned());
    let engine = Engine::open(&Options::default())?;
    // The sigmas are not timesteps of the network, and the method evaluates between them, too.
    let sigmas = Some((0..=10).map(|step| 40.0 * f64::from(10 - step).powi(3) / 1000.0 + 0.01).collect());
    let mut run = Model::embedded()?.sampling().settings(Settings { sigmas, ..Settings::default() }).resolve()?;
    run.run.method = Method::new(Ralston);
    let mut images = Vec::new();
    for batch in run.on(&engine)? {
        images.extend(batch?.images()?);
    }
    write_png(output, &grid(&images, square_columns(images.len()), WHITE), &[])
}
