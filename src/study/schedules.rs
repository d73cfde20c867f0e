//! Noise schedules that are best for a given spectrum, by their closed forms. Linear diffusion leaves this open.
//!
//! **Concentration.** A chain of projections on k components of n noisy samples, fresh noise at each level, keeps of
//! direction i the share `w_i(s)` at each level ([`Overlap`]). White noise that goes through ends with an energy `e_i` along
//! it whose logarithm is the sum of 2 ln `w_i(s_t)` over the levels, the last one counted once. The levels do not know of
//! one another: the share of direction 0 is greatest where all of them stay at the noise that tells it best from the rest.
//!
//! **Recovery.** A DDIM step with the Wiener filter from s to r keeps `(v + s r) / (v + s^2)` of a mode of variance v. With
//! s = sqrt(v) tan a and r = sqrt(v) tan b that is the probability flow's gain times cos(a - b): each mode sees the
//! schedule as a walk over an angle from atan(S / sqrt(v)) to 0, and loses as if it cut corners of a circle. One mode
//! is best served by equal angles, sigma = sqrt(v) tan; for many modes the mean of -ln cos over all of them is least. For
//! many steps it is half the sum of the squared angles, which is least where every step is as long as any other in
//! the metric of all modes, `sum of v / (v + s^2)^2`: [`geodesic`], from which the search starts.

use super::gains;
use super::optimise::{Minimum, minimise};
use super::overlap::Overlap;

/// No entry of a gradient is above this at a minimum.
const TOLERANCE: f64 = 1e-9;
const MOST_STEPS: usize = 5000;

/// Energies of white noise that went through the chain at rising `levels`, over their sum.
#[must_use]
pub fn concentration(overlap: &Overlap, levels: &[f64]) -> Vec<f64> {
    let logs = log_energies(overlap, levels);
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let energies: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let total: f64 = energies.iter().sum();
    energies.iter().map(|energy| energy / total).collect()
}

/// How often a level counts: noise enters through the last one and passes it once.
fn weight(at: usize, count: usize) -> f64 {
    if at + 1 == count { 1.0 } else { 2.0 }
}

fn log_energies(overlap: &Overlap, levels: &[f64]) -> Vec<f64> {
    let log = |mode: usize, (at, sigma): (usize, &f64)| {
        weight(at, levels.len()) * overlap.squared_cosine(mode, *sigma).0.ln()
    };
    (0..overlap.kept()).map(|mode| levels.iter().enumerate().map(|level| log(mode, level)).sum()).collect()
}

/// The `steps` levels up to `highest`, rising, at which direction 0 has the greatest share of the energy: the best single
/// level for all, or what a search from around it finds that is better. The last level is not bound to be the highest.
#[must_use]
pub fn most_concentrated(overlap: &Overlap, steps: usize, highest: f64) -> Vec<f64> {
    let single = best_level(overlap, steps, highest);
    let level = |z: f64| highest / (1.0 + (-z).exp());
    let function = |z: &[f64]| {
        let levels: Vec<f64> = z.iter().map(|z| level(*z)).collect();
        let (value, mut gradient) = others_over_first(overlap, &levels);
        gradient.iter_mut().zip(&levels).for_each(|(slope, sigma)| *slope *= sigma * (1.0 - sigma / highest));
        (value, gradient)
    };
    // Levels that are all alike pull alike: a mixture is found from levels that are not.
    let share = (single / highest).clamp(1e-6, 1.0 - 1e-6);
    let around = |at: usize| (share / (1.0 - share)).ln() + 0.5 * ((at as f64 + 0.5) / steps as f64 - 0.5);
    let found = minimise(&function, (0..steps).map(around).collect(), TOLERANCE, MOST_STEPS);
    let alike = vec![single; steps];
    if others_over_first(overlap, &alike).0 <= found.value {
        return alike;
    }
    let mut levels: Vec<f64> = found.at.iter().map(|z| level(*z)).collect();
    levels.sort_by(f64::total_cmp);
    levels
}

/// The natural logarithm of what all other directions have over what direction 0 has, and its slope by each level.
fn others_over_first(overlap: &Overlap, levels: &[f64]) -> (f64, Vec<f64>) {
    let logs = log_energies(overlap, levels);
    let apart: Vec<f64> = logs.iter().skip(1).map(|log| log - logs[0]).collect();
    let most = apart.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return (most, vec![0.0; levels.len()]);
    }
    let total: f64 = apart.iter().map(|log| (log - most).exp()).sum();
    let by_level = levels.iter().enumerate().map(|(at, sigma)| {
        let slope = |mode: usize| {
            let (kept, slope) = overlap.squared_cosine(mode, *sigma);
            slope / kept
        };
        let first = slope(0);
        let others = apart.iter().enumerate().map(|(mode, log)| (log - most).exp() * (slope(mode + 1) - first));
        weight(at, levels.len()) * others.sum::<f64>() / total
    });
    (most + total.ln(), by_level.collect())
}

/// The best level for all steps: a scan, and then thirds of what is around its best.
fn best_level(overlap: &Overlap, steps: usize, highest: f64) -> f64 {
    const SCANNED: usize = 400;
    const THIRDS: usize = 60;
    let value = |sigma: f64| others_over_first(overlap, &vec![sigma; steps]).0;
    let place = |at: usize| highest * at as f64 / SCANNED as f64;
    let best = (1..=SCANNED).min_by(|a, b| value(place(*a)).total_cmp(&value(place(*b)))).unwrap_or(SCANNED);
    let (mut low, mut high) = (place(best - 1), place((best + 1).min(SCANNED)));
    for _ in 0..THIRDS {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if value(a) <= value(b) { high = b } else { low = a }
    }
    let refined = 0.5 * (low + high);
    if value(refined) <= value(place(best)) { refined } else { place(best) }
}

/// The mean over `variances` of -ln(gain of DDIM / gain of the probability flow), down falling `sigmas`; each above 0.
#[must_use]
pub fn shortfall(variances: &[f64], sigmas: &[f64]) -> f64 {
    let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
    let one = |lambda: &f64| (gains::flow(*lambda, first, last) / gains::ddim(*lambda, sigmas)).ln();
    variances.iter().map(one).sum::<f64>() / variances.len().max(1) as f64
}

/// `steps` + 1 levels from `first` to 0, as far from one another in the metric of all modes.
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

/// The `steps` + 1 levels from `first` to 0 of the least [`shortfall`] over `variances`, each above 0, and how the search
/// went.
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

    /// All levels at one noise, which no other noise and no mixture of noises beats.
    #[test]
    fn concentration_stays_at_one_level() {
        let overlap = Overlap::new(&[5.0, 4.0, 3.0, 2.0, 1.0], 5, 1500, 300);
        for (highest, inner) in [(20.0, true), (1.0, false)] {
            let levels = most_concentrated(&overlap, 12, highest);
            let share = |levels: &[f64]| concentration(&overlap, levels)[0];
            let most = share(&levels);
            assert!((levels[11] / levels[0] - 1.0).abs() < 1e-3, "{levels:?}");
            for at in 1..200 {
                let other = share(&[highest * f64::from(at) / 200.0; 12]);
                assert!(other < most + 1e-6, "{highest}, {at}: {other} {most}");
            }
            assert_eq!(levels[0] < 0.99 * highest, inner, "{levels:?}");
            for spacing in Spacing::ALL {
                let mut usual = spacing.sigmas(12, levels[0]).unwrap();
                usual.pop();
                usual.reverse();
                assert!(share(&usual) < most, "{spacing}");
            }
        }
    }

    #[test]
    fn energies_are_shares_and_even_without_noise() {
        let overlap = Overlap::new(&[5.0, 4.0, 3.0], 3, 1000, 100);
        assert!(concentration(&overlap, &[0.0; 5]).iter().all(|share| (share - 1.0 / 3.0).abs() < 1e-12));
        let shares = concentration(&overlap, &[0.5, 1.0, 2.0]);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12 && shares[0] > shares[1] && shares[1] > shares[2]);
    }
}
