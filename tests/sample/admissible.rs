//! Admissibility: two forms of the criterion, and what it promises, on denoisers that satisfy its assumption.

use downhill::Result;
use downhill::denoise::{Denoiser, Level};
use downhill::sample::admissible::ErrorModel;
use downhill::sample::schedule::Schedule;
use downhill::sample::solvers::descent::{Descent, Noise};
use downhill::sample::walk::{Method, sample};
use downhill::tensor::Tensor;
use proptest::prelude::*;

/// Values of an image: the data is the subspace where the first `NORMAL` of them are zero.
const SIZE: usize = 12;
const NORMAL: usize = 7;

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn distance(x: &Tensor) -> f64 {
    norm(&x.data[..NORMAL].iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
}

/// Answers the gradient of half the squared distance to the subspace, over sigma, with an error of exactly eta times
/// the distance in directions of its own.
struct Erring {
    eta: f64,
    errors: Vec<Vec<f64>>,
    calls: usize,
}

impl Denoiser for Erring {
    fn image_shape(&self) -> [usize; 3] {
        [1, 1, SIZE]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let far = distance(x);
        let error = &self.errors[self.calls % self.errors.len()];
        self.calls += 1;
        // The first number of each error leans it along the gradient, where it does most harm.
        let gradient: Vec<f64> = (0..SIZE).map(|i| if i < NORMAL { f64::from(x.data[i]) } else { 0.0 }).collect();
        let leaning: Vec<f64> = (0..SIZE).map(|i| error[i] + 4.0 * error[SIZE] * gradient[i] / far).collect();
        let scale = self.eta * far / norm(&leaning);
        let data = (0..SIZE).map(|i| ((gradient[i] + scale * leaning[i]) / levels[0].sigma) as f32).collect();
        Ok(Tensor::new(x.shape.clone(), data))
    }
}

/// Levels falling from 40 by these factors.
fn levels(kept: &[f64]) -> Vec<f64> {
    let mut sigmas = vec![40.0];
    sigmas.extend(kept.iter().scan(40.0, |sigma, kept| {
        *sigma *= kept;
        Some(*sigma)
    }));
    sigmas
}

proptest! {
    #[test]
    fn products_and_closed_form_agree(
        eta in 0.0..0.99f64,
        nu in 1.0..5.0f64,
        kept in prop::collection::vec(0.05..1.0f64, 1..30),
    ) {
        let (model, sigmas) = (ErrorModel::new(eta, nu).unwrap(), levels(&kept));
        let share = model.share_used(&sigmas).unwrap();
        // At the border, rounding decides.
        prop_assume!((share - 1.0).abs() > 1e-6);
        prop_assert_eq!(model.admits(&sigmas).unwrap(), share < 1.0);
    }

    #[test]
    fn the_longest_constant_step_is_the_longest(eta in 0.001..0.99f64, nu in 1.01..5.0f64, steps in 1usize..60) {
        let model = ErrorModel::new(eta, nu).unwrap();
        let longest = model.longest_constant_step(steps);
        let admits = |beta: f64| model.admits(&levels(&vec![1.0 - beta; steps])).unwrap();
        prop_assert!(admits(longest));
        prop_assert!(admits(longest * 0.99));
        prop_assert!(!admits(longest + (1.0 - longest) * 0.001));
    }

    /// Along DDIM with errors as large as the assumption allows, in any direction: the distance keeps between the
    /// bounds, and the noise within a factor nu of it.
    #[test]
    fn bounds_hold_where_the_assumption_does(
        eta in 0.0..0.6f64,
        nu in 1.1..4.0f64,
        share in 0.3..1.0f64,
        start in prop::collection::vec(-1.0..1.0f64, SIZE),
        errors in prop::collection::vec(prop::collection::vec(-1.0..1.0f64, SIZE + 1), 1..8),
        steps in 1usize..20,
    ) {
        prop_assume!(norm(&start[..NORMAL]) > 0.1);
        prop_assume!(errors.iter().all(|error| norm(error) > 0.1));
        let model = ErrorModel::new(eta, nu).unwrap();
        let sigmas = levels(&vec![1.0 - share * model.longest_constant_step(steps).min(0.9); steps]);
        prop_assert!(model.admits(&sigmas).unwrap());
        let unit = (SIZE as f64).sqrt();
        let scale = unit * sigmas[0] / norm(&start[..NORMAL]);
        let x = Tensor::new([1, 1, 1, SIZE], start.iter().map(|value| (value * scale) as f32).collect::<Vec<_>>());
        let first = distance(&x);
        let method = Method::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) });
        let bounds = model.bounds(&sigmas).unwrap();
        let mut seen = Vec::new();
        let mut denoiser = Erring { eta, errors, calls: 0 };
        let mut watch = |progress: &downhill::sample::walk::Progress| {
            seen.push((distance(progress.x), progress.step.to.sigma));
            Ok(())
        };
        let schedule = Schedule::from_sigmas(&sigmas).unwrap();
        sample(&mut denoiser, &schedule, &method, x, &mut |_| unreachable!(), &mut watch).unwrap();
        prop_assert_eq!(seen.len(), bounds.len());
        for ((distance, sigma), bound) in seen.into_iter().zip(bounds) {
            let ratio = distance / first;
            prop_assert!(ratio >= bound.least - 1e-5 && ratio <= bound.most + 1e-5, "{} in {:?}", ratio, bound);
            prop_assert!(distance <= nu * unit * sigma * (1.0 + 1e-4) && unit * sigma <= nu * distance * (1.0 + 1e-4));
        }
    }
}

/// Errors that lie along the gradient reach the bounds: they are no looser than they need be.
#[test]
fn bounds_are_reached() {
    let model = ErrorModel::new(0.3, 3.0).unwrap();
    let sigmas = levels(&[0.9; 6]);
    for sign in [1.0, -1.0] {
        let error = [vec![0.0; SIZE], vec![sign]].concat();
        let mut x = Tensor::new([1, 1, 1, SIZE], vec![1.0; SIZE]);
        let first = distance(&x);
        let method = Method::new(Descent { gamma: 1.0, noise: Noise::Mu(0.0) });
        let mut denoiser = Erring { eta: 0.3, errors: vec![error], calls: 0 };
        let schedule = Schedule::from_sigmas(&sigmas).unwrap();
        x = sample(&mut denoiser, &schedule, &method, x, &mut |_| unreachable!(), &mut |_| Ok(())).unwrap();
        let last = *model.bounds(&sigmas).unwrap().last().unwrap();
        let expected = if sign > 0.0 { last.least } else { last.most };
        assert!((distance(&x) / first - expected).abs() < 1e-5, "{} is not {expected}", distance(&x) / first);
    }
}
