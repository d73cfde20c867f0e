//! The exact denoiser of a Gaussian of variance lambda, eps = x sigma / (lambda + sigma^2): every step multiplies x, so
//! the whole run is one gain.

use downhill::Result;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::samplers::Sampler;
use downhill::sample::schedule::Schedule;
use downhill::sample::settings::Course;
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Method, sample};
use downhill::tensor::Tensor;
use serde_json::json;

use super::{Pointwise, resolve, run_quietly};

fn gaussian(lambda: f64) -> Pointwise<impl FnMut(f64, f64) -> f64 + Send> {
    Pointwise([1, 1, 1], move |x, sigma| x * sigma / (lambda + sigma * sigma))
}

fn gain(lambda: f64, schedule: &Schedule, method: &Method) -> f64 {
    let end = run_quietly(&mut gaussian(lambda), schedule, method, Tensor::new([1, 1, 1, 1], vec![1.0])).unwrap();
    f64::from(end.data[0])
}

fn plain(gamma: f64, noise: Noise) -> Method {
    Method::new(Descent { gamma, noise })
}

/// The gain of DDIM is the product of `(lambda + sigma_t sigma_(t-1)) / (lambda + sigma_t^2)`.
#[test]
fn ddim_gain_is_the_product_of_its_steps() {
    for schedule in ["paper", "ddim", "leading", "trailing", "edm", "karras", "loglinear"] {
        let schedule = resolve(json!({"schedule": schedule, "steps": 10})).unwrap().schedule;
        for lambda in [0.01, 1.0, 25.0] {
            let sigmas: Vec<f64> = schedule.levels().iter().map(|level| level.sigma).collect();
            let product: f64 = sigmas.windows(2).map(|s| (lambda + s[0] * s[1]) / (lambda + s[0] * s[0])).product();
            let found = gain(lambda, &schedule, &plain(1.0, Noise::Eta(0.0)));
            assert!((found / product - 1.0).abs() < 2e-6, "lambda {lambda}: {found}, expected {product}");
        }
    }
}

/// On a pure Gaussian, gamma = 2 goes too far and DDIM not far enough.
#[test]
fn amplitude_gains_of_gradient_estimation() {
    let mut sigmas: Vec<f64> =
        (0..10).map(|i| (40f64.ln() + f64::from(i) / 9.0 * (0.0582f64 / 40.0).ln()).exp()).collect();
    sigmas.push(0.01);
    let schedule = Schedule::from_sigmas(&sigmas).unwrap();
    for (gamma, expected) in [(1.0, 0.020_84), (1.5, 0.024_24), (2.0, 0.027_28)] {
        let found = gain(1.0, &schedule, &plain(gamma, Noise::Mu(0.0)));
        assert!((found - expected).abs() < 6e-6, "gamma {gamma}: {found}, expected {expected}");
    }
    let fine: Vec<f64> = (0..=20_000).map(|i| 40.0 * (0.01f64 / 40.0).powf(f64::from(i) / 2e4)).collect();
    let exact = gain(1.0, &Schedule::from_sigmas(&fine).unwrap(), &plain(1.0, Noise::Mu(0.0)));
    assert!((exact - 0.024_99).abs() < 2e-5, "many small steps reach the exact gain: {exact}");
}

/// DDPM is mu = 1/2, DDIM with eta = 1 and `fixed_small`; mu = 0 is DDIM.
#[test]
fn the_table_of_gamma_and_mu() {
    let Course { schedule, method: ddpm, .. } =
        resolve(json!({"sampler": "ddpm", "steps": 20, "schedule": "trailing", "clip": false})).unwrap();
    let start = Tensor::new([2, 1, 1, 1], vec![90.0, -3.0]);
    let run = |method: &Method| {
        let mut noise = |step: u32| {
            let value = (step as f32 * 1.7).sin();
            Ok(Tensor::new([2, 1, 1, 1], vec![value, 0.5 - value]))
        };
        sample(&mut gaussian(0.25), &schedule, method, start.clone(), &mut noise, &mut |_| Ok(())).unwrap().data
    };
    let close = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(run(&ddpm), run(&plain(1.0, Noise::Mu(0.5)))));
    assert!(close(run(&ddpm), run(&plain(1.0, Noise::Eta(1.0)))));
    assert!(close(run(&plain(1.0, Noise::Mu(0.0))), run(&plain(1.0, Noise::Eta(0.0)))));
    assert!(!close(run(&ddpm), run(&plain(1.0, Noise::Mu(0.25)))), "the noise makes a difference");
}

/// The variance after a step of mu is that of the level it goes to: the noise replaces what the estimate left out.
#[test]
fn noise_keeps_the_marginals() {
    for mu in [0.0, 0.3, 0.5, 0.8] {
        let schedule = Schedule::from_sigmas(&[2.0, 1.5]).unwrap();
        let unit = |_| Ok(Tensor::new([2, 1, 1, 1], vec![0.0, 1.0]));
        // A point at the origin: eps = x / sigma, so that an x of sigma carries eps = 1.
        let start = Tensor::new([2, 1, 1, 1], vec![2.0, 0.0]);
        let end =
            sample(&mut gaussian(0.0), &schedule, &plain(1.0, Noise::Mu(mu)), start, &mut { unit }, &mut |_| Ok(()))
                .unwrap();
        let variance = f64::from(end.data[0]).powi(2) + f64::from(end.data[1]).powi(2);
        assert!((variance - 1.5f64.powi(2)).abs() < 1e-6, "mu {mu}: {variance}");
    }
}

/// smalldiffusion's first equivalence: gamma 1, mu 0 on its trailing sigmas is
/// `DDIMScheduler(timestep_spacing=trailing, clip_sample=False, set_alpha_to_one=False)`.
#[test]
fn smalldiffusions_equivalence() {
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let config = downhill::sample::scheduler_config::SchedulerConfig {
        clip_sample: Some(false),
        set_alpha_to_one: Some(false),
        ..Default::default()
    };
    for steps in [5, 20, 50] {
        let asked = json!({"sampler": "ddim", "schedule": "trailing", "steps": steps});
        let theirs = super::settings(asked).resolve(&config, &table).unwrap();
        let mut timesteps: Vec<f64> = (0..steps).map(|i| f64::from(1000 - i * (1000 / steps) - 1)).collect();
        timesteps.push(0.0);
        let ours = json!({"sampler": "ge", "gamma": 1.0, "timesteps": timesteps});
        let ours = super::settings(ours).resolve(&config, &table).unwrap();
        assert_eq!(gain(0.3, &theirs.schedule, &theirs.method), gain(0.3, &ours.schedule, &ours.method));
    }
}

/// A Gaussian and a gradient that guides: eps is moved by -sigma times the gradient, whatever the sampler.
#[test]
fn guidance_moves_eps_under_every_sampler_but_the_ancestral_one() {
    struct Guided<F>(Pointwise<F>);

    impl<F: FnMut(f64, f64) -> f64 + Send> Denoiser for Guided<F> {
        fn image_shape(&self) -> [usize; 3] {
            self.0.image_shape()
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            self.0.eps(x, levels)
        }

        fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
            let data = x.data.iter().zip(levels).map(|(x, level)| (pull(f64::from(*x), level.sigma)) as f32);
            Ok(Some(Tensor::new(x.shape.clone(), data.collect::<Vec<_>>())))
        }
    }

    fn pull(x: f64, sigma: f64) -> f64 {
        (0.7 - 0.1 * x) / (1.0 + sigma * sigma)
    }

    let start = Tensor::new([2, 1, 1, 1], vec![9.0, -3.0]);
    for sampler in Sampler::ALL {
        let asked = json!({"sampler": sampler.name(), "steps": 8, "clip": false});
        let Ok(Course { schedule, method, .. }) = resolve(asked) else { continue };
        let mut noise = |step: u32| Ok(Tensor::new([2, 1, 1, 1], vec![(step as f32).sin(), (step as f32).cos()]));
        let mut run = |denoiser: &mut dyn Denoiser| {
            sample(denoiser, &schedule, &method, start.clone(), &mut noise, &mut |_| Ok(())).unwrap().data
        };
        let guided = run(&mut Guided(gaussian(0.25)));
        let moved = Pointwise([1, 1, 1], |x, sigma| x * sigma / (0.25 + sigma * sigma) - sigma * pull(x, sigma));
        let (moved, plain) = (run(&mut { moved }), run(&mut gaussian(0.25)));
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let name = sampler.name();
        assert!(apart(&guided, &plain) > 1e-2, "{name}: guidance makes a difference");
        let by_eps = apart(&guided, &moved);
        assert_eq!(by_eps < 1e-4, sampler != Sampler::Ddpm, "{name}: {by_eps:e}");
    }
}
