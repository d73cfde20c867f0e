//! CFG++ in the samplers: what guidance adds to the clean image reaches the states of every step, and once.

use downhill::Result;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::samplers::Sampler;
use downhill::sample::settings::Settings;
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Bound, Clip, Method, sample};
use downhill::tensor::Tensor;

use super::{Pointwise, run_quietly};
use downhill::sample::schedule::Schedule;

const SIGMAS: [f64; 6] = [8.0, 5.0, 3.0, 1.5, 0.8, 0.4];
const SHAPE: [usize; 3] = [1, 1, 1];

/// The eps without the condition, and the shift of x0 by the condition, both of one value.
struct Plus<E, S> {
    eps: E,
    shift: S,
}

impl<E, S> Denoiser for Plus<E, S>
where
    E: Fn(f64, f64) -> f64 + Send,
    S: Fn(f64, f64) -> f64 + Send,
{
    fn image_shape(&self) -> [usize; 3] {
        SHAPE
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        Ok(Tensor::new(x.shape.clone(), vec![(self.eps)(f64::from(x.data[0]), levels[0].sigma) as f32]))
    }

    fn shift(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        let shift = (self.shift)(f64::from(x.data[0]), levels[0].sigma) as f32;
        Ok(Some(Tensor::new(x.shape.clone(), vec![shift])))
    }
}

fn one(value: f32) -> Tensor {
    Tensor::new([1, 1, 1, 1], vec![value])
}

fn end(denoiser: &mut dyn Denoiser, method: &Method, sigmas: &[f64], start: f32) -> f64 {
    let schedule = Schedule::from_sigmas(sigmas).unwrap();
    let no_noise = &mut |_| Ok(Tensor::zeros([1, 1, 1, 1]));
    f64::from(sample(denoiser, &schedule, method, one(start), no_noise, &mut |_| Ok(())).unwrap().data[0])
}

/// Chung et al. (2024), algorithm 2, and the classifier-free guidance of scale `lambda sigma / (sigma - sigma')` that
/// has the same steps.
#[test]
fn ddim_with_cfg_plus_plus_is_guidance_of_a_scale_that_grows() {
    let (scale, u, c) = (0.4, |x: f64, s: f64| 0.7 * x / (1.0 + s), |x: f64, s: f64| 0.9 * x / (0.5 + s) - 0.2);
    let method = Method::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) });
    let shift = move |x: f64, s: f64| -s * scale * (c(x, s) - u(x, s));
    let found = end(&mut Plus { eps: u, shift }, &method, &SIGMAS, 8.0);
    let mut x = 8.0;
    for pair in SIGMAS.windows(2) {
        let (s, r) = (pair[0], pair[1]);
        x = x - s * (u(x, s) + scale * (c(x, s) - u(x, s))) + r * u(x, s);
    }
    assert!((found - x).abs() < 1e-5 * x.abs(), "{found}, {x}");
    let next = |s: f64| SIGMAS[SIGMAS.iter().position(|other| *other == s).expect("a level") + 1];
    let mut cfg = Pointwise(SHAPE, |x, s| u(x, s) + scale * s / (s - next(s)) * (c(x, s) - u(x, s)));
    let schedule = Schedule::from_sigmas(&SIGMAS).unwrap();
    let other = f64::from(run_quietly(&mut cfg, &schedule, &method, one(8.0)).unwrap().data[0]);
    assert!((found - other).abs() < 1e-5 * x.abs(), "{found}, {other}");
}

/// Where eps is 0 a solver in eps stays, and where x0 is 0 a solver in x0 scales its state: the shifts then add up as
/// they are.
#[test]
fn each_sampler_shifts_each_state_once() {
    let (shift, start) = (0.25, 4.0f32);
    let standing = f64::from(start) + shift * (SIGMAS.len() - 1) as f64;
    let scaled = SIGMAS.windows(2).fold(f64::from(start), |x, pair| x * pair[1] / pair[0] + shift);
    // Steps of one group begin with its first state, and so do their shifts.
    let group = |x: f64, from: usize, to: usize| x * SIGMAS[to] / SIGMAS[from] + shift;
    let grouped = [(0, 2), (2, 4), (4, 5)].into_iter().fold(f64::from(start), |x, (from, to)| group(x, from, to));
    let mut seen = Vec::new();
    for sampler in Sampler::ALL {
        let settings = Settings { sampler: Some(sampler), sigmas: Some(SIGMAS.to_vec()), ..Settings::default() };
        let Ok(course) = settings.on_sigmas((8.0, 0.4)) else { continue };
        // Heun's rule in s extrapolates z and not x: it is exact on neither.
        let is_of_z = sampler.name() == "flow-heun";
        if is_of_z || course.method.solver.never_renoises().is_some() || course.method.solver.is_stochastic() {
            continue;
        }
        let method = Method { clip: None, ..course.method };
        let in_eps = end(&mut Plus { eps: |_, _| 0.0, shift: |_, _| shift }, &method, &SIGMAS, start);
        let in_x0 = end(&mut Plus { eps: |x, s| x / s, shift: |_, _| shift }, &method, &SIGMAS, start);
        let near = |a: f64, b: f64| (a - b).abs() < 2e-5;
        let expected = if sampler.name() == "dpm++2s" { grouped } else { scaled };
        assert!(near(in_eps, standing) || near(in_x0, expected), "{}: {in_eps}, {in_x0}", sampler.name());
        // Without a shift nothing is added.
        let plain = end(&mut Plus { eps: |x, s| 0.3 * x / s, shift: |_, _| 0.0 }, &method, &SIGMAS, start);
        let schedule = Schedule::from_sigmas(&SIGMAS).unwrap();
        let other = run_quietly(&mut Pointwise(SHAPE, |x, s| 0.3 * x / s), &schedule, &method, one(start)).unwrap();
        assert_eq!(plain, f64::from(other.data[0]), "{}", sampler.name());
        seen.push(sampler.name());
    }
    for name in ["ddim", "ge", "heun", "dpm++2m", "dpm++2s", "unipc", "deis", "lms", "kdpm2", "euler"] {
        assert!(seen.contains(&name), "{name} is not among {seen:?}");
    }
}

/// The guided image is clipped, as that of other guidance: x' = clip(x0 + shift) + sigma' eps.
#[test]
fn the_guided_image_is_clipped() {
    let descent = Descent { gamma: 1.0, noise: Noise::Mu(0.0) };
    let method = Method { clip: Some(Clip { bound: Bound::Range(1.0), rederive_eps: false }), ..Method::new(descent) };
    for (shift, clean) in [(0.3, 0.9), (5.0, 1.0), (-3.0, -1.0)] {
        // x0 is 2.6 - 2 = 0.6.
        let found = end(&mut Plus { eps: |_, _| 1.0, shift: move |_, _| shift }, &method, &[2.0, 1.0], 2.6);
        assert!((found - (clean + 1.0)).abs() < 1e-6, "{shift}: {found}");
    }
}

#[test]
fn samplers_that_draw_all_noise_again_have_no_cfg_plus_plus() {
    for name in ["lcm", "consistency", "sde-ve"] {
        let sampler: Sampler = name.parse().unwrap();
        let settings = Settings { sampler: Some(sampler), ..Settings::default() };
        if let Ok(course) = settings.on_sigmas((8.0, 0.4)) {
            assert!(course.method.solver.never_renoises().is_some(), "{name}");
        }
    }
}
