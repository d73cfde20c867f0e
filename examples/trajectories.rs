//! The paths of eight digits from noise to images, plotted: the distance of each state from its end, over sigma.
//!
//! ```text
//! cargo run --example trajectories -- trajectories
//! ```

use downhill::report::plot::{Axis, Figure, Picture, Series, write};
use downhill::sample::samplers::Sampler;
use downhill::tensor::Tensor;
use downhill::{Engine, Model, Options};

const IMAGES: usize = 8;

fn main() -> downhill::Result<()> {
    let output = std::env::args().nth(1).unwrap_or_else(|| "trajectories".to_owned());
    let engine = Engine::open(&Options::default())?;
    let run = Model::embedded()?.sampling().sampler(Sampler::Ddim).steps(30).count(IMAGES).keep_path(true).resolve()?;
    let levels = run.run.schedule.levels();
    let mut figure = Figure::new("Trajectories of digits", Axis::log("sigma"), Axis::linear("distance from the end"));
    for batch in run.on(&engine)? {
        let batch = batch?;
        for image in 0..batch.indices.len() {
            let distance = |z: &Tensor| {
                let pairs = z.item(image).iter().zip(batch.samples.item(image));
                pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            let points = levels[1..].iter().zip(&batch.path).map(|(level, z)| (level.sigma, distance(z))).collect();
            figure = figure.with(Series::line("", points));
        }
    }
    write(".".as_ref(), &output, &Picture::from(figure))
}
