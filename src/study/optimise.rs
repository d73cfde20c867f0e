//! A minimum of a smooth function of some hundred variables: L-BFGS (Liu and Nocedal 1989; Nocedal and Wright,
//! "Numerical Optimization", algorithm 7.4) with steps that are halved until the function falls.

use std::collections::VecDeque;

/// Pairs of steps and gradient changes that the curvature is estimated from.
const MEMORY: usize = 60;
/// The share of the decrease predicted by the gradient that a step must achieve (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings of one step before the search gives up.
const HALVINGS: usize = 60;

/// The end of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The variables.
    pub at: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// Steps taken.
    pub steps: usize,
    /// The gradient is below the tolerance, or the function cannot fall any more.
    pub converged: bool,
}

/// A function that returns its value and its gradient at a point.
pub type Function<'a> = &'a dyn Fn(&[f64]) -> (f64, Vec<f64>);

/// A local minimum of `function`, which returns its value and gradient, from `start`; at most `most_steps` steps, until
/// no entry of the gradient is above `tolerance`. NaN counts as infinitely high.
#[must_use]
pub fn minimise(function: Function, start: Vec<f64>, tolerance: f64, most_steps: usize) -> Minimum {
    let mut at = start;
    let (mut value, mut gradient) = function(&at);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for steps in 0..most_steps {
        if gradient.iter().all(|entry| entry.abs() <= tolerance) {
            return Minimum { at, value, steps, converged: true };
        }
        let mut direction = descent(&gradient, &memory);
        let mut slope = dot(&direction, &gradient);
        if slope.is_nan() || slope >= 0.0 {
            memory.clear();
            direction = gradient.iter().map(|entry| -entry).collect();
            slope = dot(&direction, &gradient);
        }
        // Without knowledge of the curvature, a step of length one at most.
        let longest = if memory.is_empty() { dot(&direction, &direction).sqrt().max(1.0).recip() } else { 1.0 };
        let Some((next, next_value, next_gradient)) = step(function, &at, value, &direction, slope, longest) else {
            if memory.is_empty() {
                return Minimum { at, value, steps, converged: true };
            }
            memory.clear();
            continue;
        };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        // Only pairs of positive curvature keep the direction one of descent.
        if dot(&moved, &turned) > 1e-12 * dot(&turned, &turned) {
            memory.push_back((moved, turned));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (at, value, gradient) = (next, next_value, next_gradient);
    }
    Minimum { at, value, steps: most_steps, converged: false }
}

/// The point along `direction` where the function has fallen enough, with value and gradient.
fn step(
    function: Function,
    at: &[f64],
    value: f64,
    direction: &[f64],
    slope: f64,
    longest: f64,
) -> Option<(Vec<f64>, f64, Vec<f64>)> {
    let mut length = longest;
    for _ in 0..HALVINGS {
        let next: Vec<f64> = at.iter().zip(direction).map(|(at, direction)| at + length * direction).collect();
        let (next_value, gradient) = function(&next);
        if next_value <= value + SUFFICIENT * length * slope && next_value < value {
            return Some((next, next_value, gradient));
        }
        length *= 0.5;
    }
    None
}

/// Minus the estimate of the inverse Hessian times the gradient: the two-loop recursion.
fn descent(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|entry| -entry).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for (moved, turned) in memory.iter().rev() {
        let share = dot(moved, &direction) / dot(moved, turned);
        add(&mut direction, turned, -share);
        shares.push(share);
    }
    if let Some((moved, turned)) = memory.back() {
        let scale = dot(moved, turned) / dot(turned, turned);
        for entry in &mut direction {
            *entry *= scale;
        }
    }
    for ((moved, turned), share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(turned, &direction) / dot(moved, turned);
        add(&mut direction, moved, share - back);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64], factor: f64) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_valley_is_walked_to_its_end() {
        let rosenbrock = |x: &[f64]| {
            let (mut value, mut gradient) = (0.0, vec![0.0; x.len()]);
            for at in 0..x.len() - 1 {
                let (a, b) = (1.0 - x[at], x[at + 1] - x[at] * x[at]);
                value += a * a + 100.0 * b * b;
                gradient[at] += -2.0 * a - 400.0 * x[at] * b;
                gradient[at + 1] += 200.0 * b;
            }
            (value, gradient)
        };
        for count in [2, 30] {
            let start = (0..count).map(|at| if at % 2 == 0 { -1.2 } else { 1.0 }).collect();
            let found = minimise(&rosenbrock, start, 1e-8, 2000);
            assert!(found.converged && found.value < 1e-14, "{found:?}");
            assert!(found.at.iter().all(|x| (x - 1.0).abs() < 1e-6), "{:?}", found.at);
        }
    }

    #[test]
    fn curvatures_of_a_millionfold_are_no_obstacle() {
        let scales: Vec<f64> = (0..40).map(|at| 10f64.powf(f64::from(at) * 6.0 / 39.0)).collect();
        let bowl = |x: &[f64]| {
            let gradient: Vec<f64> = x.iter().zip(&scales).map(|(x, scale)| scale * (x - 2.0)).collect();
            (x.iter().zip(&scales).map(|(x, scale)| 0.5 * scale * (x - 2.0).powi(2)).sum(), gradient)
        };
        let found = minimise(&bowl, vec![0.0; 40], 1e-7, 5000);
        assert!(found.converged && found.at.iter().all(|x| (x - 2.0).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn what_is_no_number_is_stepped_back_from() {
        // -ln x + x, which is NaN below zero.
        let barrier = |x: &[f64]| (x[0] - x[0].ln(), vec![1.0 - x[0].recip()]);
        let found = minimise(&barrier, vec![1e-3], 1e-10, 200);
        assert!(found.converged && (found.at[0] - 1.0).abs() < 1e-8, "{found:?}");
        // A start that is the minimum, and a budget that is too small.
        assert_eq!(minimise(&barrier, vec![1.0], 1e-10, 10).steps, 0);
        assert!(!minimise(&barrier, vec![1e-3], 1e-10, 1).converged);
    }
}
