//! What noise leaves of principal components, in closed form: the part of each direction of given data that lies within
//! the leading eigenvectors of n noisy samples.
//!
//! Against one direction outside the kept ones, of variance mu, a direction of variance lambda is turned by
//! `s^2 (lambda + mu) / (n (lambda - mu)^2) + s^4 / (n (lambda - mu)^2)` (perturbation of second order, squared sine); what
//! is kept against all of them is (1 - A) / (1 + B), B the sum of the first terms and A that of the second. With nothing
//! but noise outside, mu = 0, this is Nadler's formula for a spike, exact for many samples and values at any noise, with
//! its threshold (Nadler 2008, equation 2.15; Benaych-Georges and Nadakuditi 2012); at little noise it is the first
//! order for any spectrum. In between it is an interpolation, which the chain that is measured beside it is held against.
//! Turning among the kept directions costs nothing: only what leaves their span is lost.

/// The spectrum of data, and how it is sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlap {
    /// Sums over the directions outside of 1 / (n (lambda - mu)^2), of each kept direction.
    quartic: Vec<f64>,
    /// The same of (lambda + mu) / (n (lambda - mu)^2).
    quadratic: Vec<f64>,
    /// What a direction that is lost keeps by chance, k / p.
    chance: f64,
}

impl Overlap {
    /// The leading `kept` of `variances`, largest first, in `dimension` dimensions; those beyond the variances have none.
    /// Noise is on each of `samples`.
    #[must_use]
    pub fn new(variances: &[f64], kept: usize, samples: usize, dimension: usize) -> Self {
        let kept = kept.min(variances.len());
        let (inside, outside) = variances.split_at(kept);
        let outside = &outside[..outside.len().min(dimension.saturating_sub(kept))];
        let silent = dimension.saturating_sub(kept + outside.len()) as f64;
        let count = samples as f64;
        let sum = |of: &dyn Fn(f64) -> f64| outside.iter().map(|mu| of(*mu)).sum::<f64>() + silent * of(0.0);
        let gap = |lambda: f64, mu: f64| count * (lambda - mu).powi(2);
        Self {
            quartic: inside.iter().map(|lambda| sum(&|mu| gap(*lambda, mu).recip())).collect(),
            quadratic: inside.iter().map(|lambda| sum(&|mu| (lambda + mu) / gap(*lambda, mu))).collect(),
            chance: kept as f64 / dimension.max(1) as f64,
        }
    }

    /// Kept directions, k.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.quartic.len()
    }

    /// The squared cosine of direction `index` and the span, at noise of standard deviation `sigma` and its derivative by
    /// sigma: 1 without noise, k / p where the direction is lost.
    #[must_use]
    pub fn squared_cosine(&self, index: usize, sigma: f64) -> (f64, f64) {
        let (a, b) = (self.quartic[index], self.quadratic[index]);
        if sigma == 0.0 {
            return (1.0, 0.0);
        }
        let square = sigma * sigma;
        let (above, below) = (1.0 - a * square * square, 1.0 + b * square);
        // Infinite where a direction outside has the same variance: it is lost at once.
        if above.is_nan() || above <= 0.0 || !below.is_finite() {
            return (self.chance, 0.0);
        }
        let slope = (-4.0 * a * square * sigma * below - above * 2.0 * b * sigma) / (below * below);
        let scale = 1.0 - self.chance;
        (self.chance + scale * above / below, scale * slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_noise_alone_outside_it_is_the_formula_of_a_spike() {
        let (n, p, spike) = (400, 200, 3.0);
        let overlap = Overlap::new(&[spike], 1, n, p);
        let gamma = (p - 1) as f64 / n as f64;
        for sigma in [0.1, 1.0, 1.9] {
            let ratio = spike / (sigma * sigma);
            let expected = (1.0 - gamma / (ratio * ratio)) / (1.0 + gamma / ratio);
            let chance = 1.0 / p as f64;
            let (found, _) = overlap.squared_cosine(0, sigma);
            assert!((found - (chance + (1.0 - chance) * expected)).abs() < 1e-12, "{sigma}: {found} {expected}");
        }
        // Beyond the threshold, spike / sigma^2 = sqrt(gamma), chance is left.
        let threshold = (spike / gamma.sqrt()).sqrt();
        assert!(overlap.squared_cosine(0, 0.99 * threshold).0 > 0.02);
        assert_eq!(overlap.squared_cosine(0, 1.01 * threshold), (1.0 / p as f64, 0.0));
        assert_eq!(overlap.squared_cosine(0, 0.0), (1.0, 0.0));
    }

    #[test]
    fn little_noise_turns_as_the_first_order_has_it_and_slopes_are_slopes() {
        let variances = [5.0, 3.0, 1.0, 0.5];
        let overlap = Overlap::new(&variances, 2, 1000, 6);
        let sigma = 1e-3f64;
        let expected: f64 = [1.0, 0.5, 0.0, 0.0]
            .iter()
            .map(|mu| sigma * sigma * (3.0 + mu) / (1000.0 * (3.0 - mu) * (3.0f64 - mu)))
            .sum();
        let lost = 1.0 - overlap.squared_cosine(1, sigma).0;
        assert!((lost / expected - (1.0 - 2.0 / 6.0)).abs() < 1e-4, "{lost} {expected}");
        for sigma in [0.3, 1.0, 2.0] {
            let (_, slope) = overlap.squared_cosine(0, sigma);
            let difference = overlap.squared_cosine(0, sigma + 1e-6).0 - overlap.squared_cosine(0, sigma - 1e-6).0;
            assert!((slope - difference / 2e-6).abs() < 1e-7);
        }
        // A tie across the edge is lost at once.
        assert_eq!(Overlap::new(&[1.0, 1.0], 1, 10, 4).squared_cosine(0, 1e-9).0, 0.25);
    }
}
