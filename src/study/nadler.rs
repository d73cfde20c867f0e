//! The theory of principal components under noise: the spiked model in the limit of many values (Nadler 2008, Ann.
//! Stat. 36:2791), and the expansion for little noise.
//!
//! One direction of variance l in white noise of variance `s^2`, n samples of p values: gamma = p / n, and the
//! signal-to-noise ratio is r = l / `s^2`. Below r = sqrt(gamma) the leading component carries no information about the
//! direction.

/// cos^2 of the angle between the leading sample component and the direction: (1 - gamma / r^2) / (1 + gamma / r) above
/// the threshold, 0 below.
#[must_use]
pub fn cos_squared(ratio: f64, gamma: f64) -> f64 {
    if ratio.is_infinite() {
        1.0
    } else if ratio * ratio <= gamma {
        0.0
    } else {
        (1.0 - gamma / (ratio * ratio)) / (1.0 + gamma / ratio)
    }
}

/// The leading sample eigenvalue over `s^2`: (r + 1)(1 + gamma / r) above the threshold, (1 + sqrt(gamma))^2 below.
#[must_use]
pub fn eigenvalue(ratio: f64, gamma: f64) -> f64 {
    if ratio * ratio <= gamma { (1.0 + gamma.sqrt()).powi(2) } else { (ratio + 1.0) * (1.0 + gamma / ratio) }
}

/// sin^2 of the angle between component `index` of n samples and the same component after white noise of variance `s^2`
/// was added to these samples, to first order:
///
/// sum over j other than i of `s^2 (l_i + l_j) + s^4` over `n (l_i - l_j)^2`,
///
/// over the whole spectrum of X'X / n, zeros included: directions without signal give the first term of the usual form,
/// (p - d) `s^2 (l_i + s^2) / (n l_i^2)`. It needs gaps that are wide beside the perturbation.
#[must_use]
pub fn small_noise_sine_squared(spectrum: &[f64], index: usize, variance: f64, samples: usize) -> f64 {
    let own = spectrum[index];
    let others =
        spectrum.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, other)| {
            (variance * (own + other) + variance * variance) / (samples as f64 * (own - other).powi(2))
        });
    others.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_is_continuous_and_small_noise_agrees() {
        let gamma = 0.5f64;
        let edge = gamma.sqrt() * (1.0 + 1e-9);
        assert!(cos_squared(edge, gamma) < 1e-8 && cos_squared(0.9 * edge, gamma) == 0.0);
        assert!((eigenvalue(edge, gamma) - eigenvalue(0.5 * edge, gamma)).abs() < 1e-8);
        // Far above: sin^2 = gamma / r (1 + 1 / r) and higher orders; one spike of a thousand values in 2000 samples.
        let (ratio, samples) = (1e4, 2000);
        let mut spectrum = vec![0.0; 1000];
        spectrum[0] = ratio;
        let expansion = small_noise_sine_squared(&spectrum, 0, 1.0, samples);
        assert!((expansion / (1.0 - cos_squared(ratio, gamma)) - 1.0).abs() < 2e-3, "{expansion}");
        assert_eq!(cos_squared(f64::INFINITY, gamma), 1.0);
    }
}
