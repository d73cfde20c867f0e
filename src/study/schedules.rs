//! Noise schedules that are best for a given spectrum, by their closed forms. Linear diffusion leaves this open.
//!
//! **Concentration.** A chain of projections on k components of n noisy samples, fresh noise at each level, passes the
//! mean energies of the directions on as [`Transfer`] has it. High noise separates the directions best, but at the end
//! of the chain it also mixes them: the best levels rise from the middle to where directions other than the first are
//! lost.
//!
//! **Recovery.** A DDIM step with the Wiener filter from s to r keeps `(v + s r) / (v + s^2)` of a mode of variance v.
//! With s = sqrt(v) tan a and r = sqrt(v) tan b that is the probability flow's gain times cos(a - b): each mode sees
//! the schedule as a walk over an angle from atan(S / sqrt(v)) to 0, and loses as if it cut corners of a circle. One
//! mode is best served by equal angles, sigma = sqrt(v) tan; for many modes the mean of -ln cos over all of them is
//! least. For many steps it is half the sum of the squared angles, which is least where every step is as long as any
//! other in the metric of all modes, `sum of v / (v + s^2)^2`: [`geodesic`], from which the search starts.

use super::gains;
use super::optimise::{Minimum, minimise};
use super::overlap::{Energies, Overlap, Transfer};

/// No entry of a gradient is above this at a minimum.
const TOLERANCE: f64 = 1e-9;
const MOST_STEPS: usize = 5000;
const MOST_CONCENTRATING: usize = 300;

/// Mean energies along each direction of white noise that went through the chain at rising `levels`, in `dimension`
/// dimensions, over their sum.
#[must_use]
pub fn concentration(overlap: &Overlap, dimension: usize, levels: &[f64]) -> Vec<f64> {
    let energies = Passage::new(overlap, dimension, levels).energies;
    let total: f64 = energies.along.iter().sum();
    energies.along.iter().map(|energy| energy / total).collect()
}

/// Noise on its way through a chain, from the highest level to the lowest.
struct Passage {
    transfers: Vec<Transfer>,
    /// Energies behind each level but the lowest, the largest entry 1, and what they were divided by.
    behind: Vec<(Energies, f64)>,
    /// Behind the lowest.
    energies: Energies,
}

impl Passage {
    fn new(overlap: &Overlap, dimension: usize, levels: &[f64]) -> Self {
        let transfers: Vec<Transfer> = levels.iter().map(|sigma| Transfer::new(overlap, *sigma, dimension)).collect();
        let mut behind = Vec::with_capacity(levels.len());
        let mut energies = match transfers.last() {
            Some(last) => last.of_white(),
            None => Energies { along: vec![1.0; overlap.kept()], outside: 1.0 },
        };
        for transfer in transfers.iter().rev().skip(1) {
            let scale = energies.along.iter().copied().fold(energies.outside, f64::max);
            energies.along.iter_mut().for_each(|energy| *energy /= scale);
            energies.outside /= scale;
            let next = transfer.apply(&energies, false);
            behind.push((std::mem::replace(&mut energies, next), scale));
        }
        behind.reverse();
        Self { transfers, behind, energies }
    }

    /// ln of the energy of all other directions over that of the first, and its slope by each level.
    fn others_over_first(&self) -> (f64, Vec<f64>) {
        let along = &self.energies.along;
        let others: f64 = along[1..].iter().sum();
        let by_energy = (0..along.len()).map(|i| if i == 0 { -along[0].recip() } else { others.recip() });
        let mut row = Energies { along: by_energy.collect(), outside: 0.0 };
        let mut slopes = Vec::with_capacity(self.transfers.len());
        for (at, transfer) in self.transfers.iter().enumerate() {
            let Some((energies, scale)) = self.behind.get(at) else {
                slopes.push(transfer.slope_of_white(&row));
                break;
            };
            slopes.push(transfer.slope(&row, energies));
            // The scale cancels in the ratio: it counts as constant.
            row = transfer.apply(&row, true);
            row.along.iter_mut().for_each(|entry| *entry /= scale);
            row.outside /= scale;
        }
        ((others / along[0]).ln(), slopes)
    }
}

/// The `steps` levels up to `highest`, never falling, at which the first direction has the greatest share of the energy
/// among two at least, and how the search went. The last level is not bound to be the highest.
#[must_use]
pub fn most_concentrated(overlap: &Overlap, dimension: usize, steps: usize, highest: f64) -> (Vec<f64>, Minimum) {
    // Each level is a share of the one above, the logistic function of a variable: they never fall.
    let share = |y: f64| 1.0 / (1.0 + (-y).exp());
    let levels = |y: &[f64]| {
        let mut level = highest;
        let mut levels: Vec<f64> = y
            .iter()
            .map(|y| {
                level *= share(*y);
                level
            })
            .collect();
        levels.reverse();
        levels
    };
    let function = |y: &[f64]| {
        let levels = levels(y);
        let (value, slopes) = Passage::new(overlap, dimension, &levels).others_over_first();
        // The variable of a level moves it and all below it.
        let mut below: f64 = levels.iter().zip(&slopes).map(|(level, slope)| level * slope).sum();
        let mut gradient = Vec::with_capacity(y.len());
        for (y, (level, slope)) in y.iter().zip(levels.iter().zip(&slopes).rev()) {
            gradient.push((1.0 - share(*y)) * below);
            below -= level * slope;
        }
        (value, gradient)
    };
    let logit = |share: f64| (share / (1.0 - share)).ln();
    // The function is not convex; the search starts from equal levels, and from rising ones.
    let mut starts = Vec::new();
    for top in [0.4, 0.7, 0.95] {
        for lowest in [0.1f64, 0.5, 0.9] {
            let ratio = lowest.powf((steps as f64).recip()).clamp(0.05, 0.999);
            starts.push((0..steps).map(|at| logit(if at == 0 { top } else { ratio })).collect::<Vec<_>>());
        }
    }
    let found = starts.into_iter().map(|start| minimise(&function, start, TOLERANCE, MOST_CONCENTRATING));
    let best = found.min_by(|a, b| a.value.total_cmp(&b.value));
    let best = best.unwrap_or(Minimum { at: vec![0.0; steps], value: f64::NAN, steps: 0, converged: false });
    (levels(&best.at), best)
}

/// The mean over `variances` of -ln(gain of DDIM / gain of the probability flow), down falling `sigmas`; each above 0.
#[must_use]
pub fn shortfall(variances: &[f64], sigmas: &[f64]) -> f64 {
    let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
    let one = |lambda: &f64| (gains::flow(*lambda, first, last) / gains::ddim(*lambda, sigmas)).ln();
    variances.iter().map(one).sum::<f64>() / variances.len().max(1) as f64
}

/// `steps` + 1 levels from `first` to 0, at equal distances in the metric of all modes.
#[must_use]
pub fn geodesic(variances: &[f64], steps: usize, first: f64) -> Vec<f64> {
    /// Points that the length is summed over, even in the angle of the mean variance: fine where the metric is.
    const POINTS: usize = 20_000;
    let mean = variances.iter().map(|lambda| lambda.sqrt()).sum::<f64>() / variances.len().max(1) as f64;
    let scale = if mean > 0.0 { mean } else { first };
    // Even in asinh(s / scale), linear below the scale of the data and logarithmic above.
    let sigma = |at: usize| scale * ((first / scale).asinh() * at as f64 / POINTS as f64).sinh();
    let density =
        |sigma: f64| variances.iter().map(|lambda| lambda / (lambda + sigma * sigma).powi(2)).sum::<f64>().sqrt();
    let mut lengths = Vec::with_capacity(POINTS + 1);
    lengths.push(0.0);
    let mut length = 0.0;
    for at in 0..POINTS {
        let (from, to) = (sigma(at), sigma(at + 1));
        length += density(0.5 * (from + to)) * (to - from);
        lengths.push(length);
    }
    let mut levels = Vec::with_capacity(steps + 1);
    let mut at = 0;
    for step in 0..steps {
        let wanted = length * step as f64 / steps as f64;
        while at + 1 < POINTS && lengths[at + 1] < wanted {
            at += 1;
        }
        let share = (wanted - lengths[at]) / (lengths[at + 1] - lengths[at]).max(f64::MIN_POSITIVE);
        levels.push(sigma(at) + share * (sigma(at + 1) - sigma(at)));
    }
    levels.push(first);
    levels.reverse();
    levels
}

/// The `steps` + 1 levels from `first` to 0 of the least [`shortfall`] over `variances`, each above 0, and how the
/// search went.
#[must_use]
pub fn best_recovery(variances: &[f64], steps: usize, first: f64) -> (Vec<f64>, Minimum) {
    let start = geodesic(variances, steps, first);
    // Each level is a share of the one above, the logistic function of a variable: no order can be lost.
    let share = |y: f64| 1.0 / (1.0 + (-y).exp());
    let levels = |y: &[f64]| {
        let mut levels = vec![first];
        for (at, y) in y.iter().enumerate() {
            levels.push(levels[at] * share(*y));
        }
        levels.push(0.0);
        levels
    };
    let function = |y: &[f64]| {
        let sigmas = levels(y);
        let count = variances.len() as f64;
        // By ln sigma of each level but the first, which stays, and the last, which is 0.
        let mut slopes = vec![0.0; y.len()];
        for lambda in variances {
            for (at, slope) in slopes.iter_mut().enumerate() {
                let (above, here, below) = (sigmas[at], sigmas[at + 1], sigmas[at + 2]);
                let gain = above / (lambda + above * here) + below / (lambda + here * below)
                    - 2.0 * here / (lambda + here * here);
                *slope -= gain * here / count;
            }
        }
        let mut gradient = vec![0.0; y.len()];
        let mut below = 0.0;
        for at in (0..y.len()).rev() {
            below += slopes[at];
            gradient[at] = (1.0 - share(y[at])) * below;
        }
        (shortfall(variances, &sigmas), gradient)
    };
    let shares =
        start.windows(2).take(steps.saturating_sub(1)).map(|pair| (pair[1] / pair[0]).clamp(1e-12, 1.0 - 1e-12));
    let begin = shares.map(|share| (share / (1.0 - share)).ln()).collect();
    let minimum = minimise(&function, begin, TOLERANCE, MOST_STEPS);
    (levels(&minimum.at), minimum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::gains::Spacing;

    /// sqrt(v) tan of equal parts of the angle.
    #[test]
    fn one_mode_is_best_served_by_equal_angles() {
        let (variance, first) = (2.0f64, 30.0);
        let angle = (first / variance.sqrt()).atan();
        for steps in [1, 2, 3, 10, 60] {
            let (found, minimum) = best_recovery(&[variance], steps, first);
            assert!(minimum.converged && found.len() == steps + 1, "{minimum:?}");
            for (at, sigma) in found.iter().enumerate() {
                let expected = variance.sqrt() * (angle * (steps - at) as f64 / steps as f64).tan();
                assert!((sigma / expected - 1.0).abs() < 1e-4 || expected == 0.0, "{steps}, {at}: {sigma} {expected}");
            }
            let least = -(steps as f64) * (angle / steps as f64).cos().ln();
            assert!((shortfall(&[variance], &found) - least).abs() < 1e-9 * least.max(1.0));
            let geodesic = geodesic(&[variance], steps, first);
            assert!(
                geodesic.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-3 * b.max(0.01)),
                "{geodesic:?} {found:?}"
            );
        }
    }

    #[test]
    fn the_best_recovery_is_better_than_any_usual_schedule_and_its_neighbours() {
        let variances: Vec<f64> = (0..20).map(|at| 5.0 * 0.75f64.powi(at)).collect();
        for steps in [4, 15, 50] {
            let (best, minimum) = best_recovery(&variances, steps, 40.0);
            let least = shortfall(&variances, &best);
            assert!(minimum.converged && (minimum.value - least).abs() < 1e-12, "{minimum:?}");
            for spacing in Spacing::ALL {
                let usual = shortfall(&variances, &spacing.sigmas(steps, 40.0).unwrap());
                assert!(least < usual, "{steps}, {spacing}: {least} {usual}");
            }
            for at in 1..steps {
                for factor in [0.999, 1.001] {
                    let mut other = best.clone();
                    other[at] *= factor;
                    assert!(shortfall(&variances, &other) > least);
                }
            }
            // In the limit of many steps, equal lengths are the best.
            let even = shortfall(&variances, &geodesic(&variances, steps, 40.0));
            assert!(even >= least && even < least * (1.0 + 4.0 / steps as f64), "{steps}: {even} {least}");
        }
    }

    #[test]
    fn the_best_concentration_is_better_than_any_one_level_usual_schedules_and_neighbours() {
        let overlap = Overlap::new(&[5.0, 4.0, 3.0, 2.0, 1.0], 5, 1500, 300);
        let first = |levels: &[f64]| concentration(&overlap, 300, levels)[0];
        for (steps, highest) in [(2, 3.0), (12, 2.5), (12, 1.0), (40, 2.5)] {
            let (levels, minimum) = most_concentrated(&overlap, 300, steps, highest);
            let most = first(&levels);
            let exact = (minimum.value.exp() + 1.0).recip();
            assert!((most - exact).abs() < 1e-9 && levels.len() == steps, "{minimum:?}");
            assert!(levels.is_sorted() && levels[steps - 1] <= highest && levels[0] > 0.0, "{levels:?}");
            for at in 1..=100 {
                let alike = first(&vec![highest * f64::from(at) / 100.0; steps]);
                assert!(alike < most + 1e-6, "{steps}, {highest}, {at}: {alike} {most}");
            }
            for spacing in Spacing::ALL {
                let mut usual = spacing.sigmas(steps, highest).unwrap();
                usual.pop();
                usual.reverse();
                assert!(first(&usual) < most + 1e-9, "{steps}, {highest}, {spacing}");
            }
        }
    }

    #[test]
    fn slopes_of_concentration_are_slopes() {
        let overlap = Overlap::new(&[5.0, 4.0, 3.0], 3, 1000, 100);
        let levels = [0.6, 0.9, 1.3, 2.0];
        let (_, slopes) = Passage::new(&overlap, 100, &levels).others_over_first();
        for at in 0..4 {
            let value = |step: f64| {
                let mut levels = levels;
                levels[at] += step;
                Passage::new(&overlap, 100, &levels).others_over_first().0
            };
            let difference = (value(1e-6) - value(-1e-6)) / 2e-6;
            assert!((slopes[at] - difference).abs() < 1e-6, "{at}: {} {difference}", slopes[at]);
        }
    }

    #[test]
    fn energies_are_shares_and_even_without_noise() {
        let overlap = Overlap::new(&[5.0, 4.0, 3.0], 3, 1000, 100);
        assert!(concentration(&overlap, 100, &[0.0; 5]).iter().all(|share| (share - 1.0 / 3.0).abs() < 1e-12));
        let shares = concentration(&overlap, 100, &[0.5, 1.0, 2.0]);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12 && shares[0] > shares[1] && shares[1] > shares[2]);
        // Nothing underflows in a long chain.
        let long = concentration(&overlap, 100, &[2.0; 1000]);
        assert!(long[0] > 0.9 && long.iter().all(|share| share.is_finite()), "{long:?}");
    }
}
