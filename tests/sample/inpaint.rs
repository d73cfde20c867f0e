//! Walks of which a part is known: on closed forms, with every sampler, in any batch.

use downhill::denoise::{Denoiser, Level};
use downhill::noise::Generator;
use downhill::sample::inpaint::{Inpaint, Known};
use downhill::sample::run::{Run, Start};
use downhill::sample::samplers::Sampler;
use downhill::sample::settings::Settings;
use downhill::tensor::Tensor;
use downhill::{Error, Result};

use super::Pointwise;

/// The posterior mean of points, in float64: the ideal denoiser of a small data set of images (1, 2, 2).
struct Points(Vec<[f32; 4]>);

impl Denoiser for Points {
    fn image_shape(&self) -> [usize; 3] {
        [1, 2, 2]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let mut eps = Vec::new();
        for (image, level) in x.data.chunks_exact(4).zip(levels) {
            let square = |point: &[f32; 4]| -> f64 {
                point.iter().zip(image).map(|(point, value)| f64::from(value - point).powi(2)).sum()
            };
            let squares: Vec<f64> = self.0.iter().map(square).collect();
            let least = squares.iter().copied().fold(f64::INFINITY, f64::min);
            let weight = |square: &f64| ((least - square) / (2.0 * level.sigma * level.sigma)).exp();
            let weights: Vec<f64> = squares.iter().map(weight).collect();
            let all: f64 = weights.iter().sum();
            for at in 0..4 {
                let mean: f64 = self.0.iter().zip(&weights).map(|(point, weight)| weight * f64::from(point[at])).sum();
                eps.push(((f64::from(image[at]) - mean / all) / level.sigma) as f32);
            }
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}

/// Two points for each upper half, so that the lower half tells which of the points matches.
fn points() -> Points {
    Points(vec![[0.5, -0.5, 3.0, 3.0], [0.5, -0.5, -3.0, 2.0], [-0.5, 0.25, 3.0, -3.0], [-0.5, 0.25, -2.0, -3.0]])
}

fn known(way: Inpaint, settings: &Settings, count: usize) -> Result<Run> {
    let course = settings.on_sigmas((20.0, 0.02))?;
    let resampling = way.resampling(course.schedule.steps().len())?;
    // The lower half is known: that of the second point.
    let clean = Tensor::new([1, 1, 2, 2], vec![9.0, 9.0, -3.0, 2.0]);
    let known = Some(Known { clean, painted: vec![true, true, false, false] });
    Ok(Run { known, resampling, ..Run::new(course.schedule, course.method, count) })
}

fn all(run: &Run, denoiser: &mut dyn Denoiser) -> Result<Vec<f32>> {
    let mut batches = run.clone().batches([1, 2, 2])?;
    let mut values = Vec::new();
    while let Some(samples) = batches.next_batch(denoiser, &mut |_| Ok(())) {
        values.extend(run.in_model_scale(&samples?.x).data);
    }
    Ok(values)
}

const REPAINT: Inpaint = Inpaint::Repaint { resample: Some(4), jump: Some(2) };

/// Samplers that walk grids of sigma on their own settings.
fn samplers() -> impl Iterator<Item = Sampler> {
    Sampler::ALL.into_iter().filter(|sampler| {
        let settings = Settings { sampler: Some(*sampler), steps: Some(12), ..Settings::default() };
        settings.on_sigmas((20.0, 0.02)).is_ok()
    })
}

/// An image of which a half is known is completed to the only sample that has that half, by every sampler.
#[test]
fn a_known_half_is_completed_to_the_only_point_that_matches() {
    let (mut tried, mut missed) = (0, Vec::new());
    for sampler in samplers() {
        let settings = Settings { sampler: Some(sampler), steps: Some(40), ..Settings::default() };
        let begins_again = ![Sampler::Pndm, Sampler::Lms].contains(&sampler);
        let ways: &[Inpaint] = if begins_again { &[Inpaint::Project, REPAINT] } else { &[Inpaint::Project] };
        for way in ways {
            let values = all(&known(*way, &settings, 8).unwrap(), &mut points()).unwrap();
            let name = way.name();
            for image in values.chunks_exact(4) {
                assert_eq!(image[2..], [-3.0, 2.0], "{sampler}, {name}: what is known is exact");
            }
            let matching = |image: &&[f32]| (image[0] - 0.5).abs() < 0.05 && (image[1] + 0.5).abs() < 0.05;
            let completed = values.chunks_exact(4).filter(matching).count();
            println!("{completed} of 8: {sampler}, {name}");
            if completed < 8 {
                missed.push(format!("{sampler}, {name}: {completed} of 8, {values:?}"));
            }
            tried += 1;
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(tried >= 30, "{tried}");
}

/// Without a known part, the same start ends at all points.
#[test]
fn without_what_is_known_other_points_are_reached() {
    let run = Run { known: None, ..known(Inpaint::Project, &Settings::default(), 16).unwrap() };
    let values = all(&run, &mut points()).unwrap();
    let others = values.chunks_exact(4).filter(|image| (image[2] + 3.0).abs() > 0.5).count();
    assert!(others > 4, "{others} of 16");
}

#[test]
fn an_image_is_the_same_in_any_batch_and_part() {
    for generator in [Generator::Philox, Generator::Torch] {
        for (way, eta) in [(Inpaint::Project, 0.0), (REPAINT, 0.0), (REPAINT, 1.0)] {
            // The walk ends under noise, so that its end tells the draws.
            let sigmas = Some(vec![20.0, 14.0, 10.0, 7.0, 5.0]);
            let settings = Settings { sigmas, eta: Some(eta), ..Settings::default() };
            let whole = Run { generator, ..known(way, &settings, 5).unwrap() };
            let values = all(&whole, &mut points()).unwrap();
            for batch in [1, 2, 3] {
                let run = Run { batch, ..whole.clone() };
                assert_eq!(all(&run, &mut points()).unwrap(), values, "{generator}, {}", way.name());
            }
            let odd: Vec<f32> = [1, 3].iter().flat_map(|at| values[at * 4..][..4].to_vec()).collect();
            let part = Run { images: vec![1, 3], batch: 2, ..whole.clone() };
            assert_eq!(all(&part, &mut points()).unwrap(), odd);
            assert_ne!(all(&Run { seed: 1, ..whole }, &mut points()).unwrap(), values);
        }
    }
}

/// Between the steps, what is known has the initial noise at the level of the state, so that DDIM's own step of the
/// true image would bring it there too.
#[test]
fn projection_keeps_the_noise_of_the_image() {
    let settings = Settings { steps: Some(5), ..Settings::default() };
    let run = known(Inpaint::Project, &settings, 2).unwrap();
    let normals = Tensor::new([2, 1, 2, 2], vec![0.3, -0.2, 1.5, -0.7, 0.1, 0.9, -1.1, 0.4]);
    let run = Run { start: Start::Noise(normals.clone()), ..run };
    let mut batches = run.clone().batches([1, 2, 2]).unwrap();
    let mut steps = 0;
    let watch = &mut |progress: &downhill::sample::walk::Progress| {
        let sigma = progress.step.to.sigma;
        for (image, normals) in progress.x.data.chunks_exact(4).zip(normals.data.chunks_exact(4)) {
            for (at, clean) in [(2, -3.0), (3, 2.0)] {
                let expected = clean + sigma * f64::from(normals[at]);
                assert!((f64::from(image[at]) - expected).abs() < 1e-5 * sigma.max(1.0), "{sigma}");
            }
        }
        steps += 1;
        Ok(())
    };
    batches.next_batch(&mut points(), watch).unwrap().unwrap();
    assert_eq!((steps, run.steps()), (5, 5));
}

#[test]
fn resampling_takes_the_steps_that_it_says() {
    let settings = Settings { steps: Some(12), ..Settings::default() };
    let run = known(REPAINT, &settings, 1).unwrap();
    let mut batches = run.clone().batches([1, 2, 2]).unwrap();
    let mut levels = Vec::new();
    let watch = &mut |progress: &downhill::sample::walk::Progress| {
        levels.push(progress.step.from.sigma);
        Ok(())
    };
    batches.next_batch(&mut points(), watch).unwrap().unwrap();
    // Jumps of two levels before each of the last five pairs of steps, three times.
    assert_eq!((levels.len(), run.steps()), (12 + 5 * 3 * 2, 42));
    assert!(levels.windows(2).filter(|pair| pair[1] > pair[0]).count() == 15);
}

#[test]
fn a_known_part_of_another_shape_is_refused() {
    let mut denoiser = Pointwise([1, 2, 2], |x, _| x);
    let run = known(Inpaint::Project, &Settings::default(), 1).unwrap();
    let refused = |known: Known, denoiser: &mut dyn Denoiser| {
        let error = all(&Run { known: Some(known), ..run.clone() }, denoiser).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert!(error.to_string().contains("known state of shape"), "{error}");
    };
    refused(Known { clean: Tensor::zeros([1, 3, 2, 2]), painted: vec![true; 4] }, &mut denoiser);
    refused(Known { clean: Tensor::zeros([1, 1, 2, 2]), painted: vec![true; 3] }, &mut denoiser);
}
