//! Principal components under noise, in closed form: the part of each direction of given data that lies within the
//! leading eigenvectors of n noisy samples.
//!
//! Against one direction outside the kept ones, of variance mu, a direction of variance lambda is turned by `s^2
//! (lambda + mu) / (n (lambda - mu)^2) + s^4 / (n (lambda - mu)^2)` (perturbation of second order, squared sine); what
//! is kept against all of them is (1 - A) / (1 + B), B the sum of the first terms and A that of the second. With
//! nothing but noise outside, mu = 0, this is Nadler's formula for a spike, exact for many samples and values at any
//! noise, with its threshold (Nadler 2008, equation 2.15; Benaych-Georges and Nadakuditi 2012); at little noise it is
//! the first order for any spectrum. In between it is an interpolation, which is compared with a measured chain.
//! Turning among the kept directions costs nothing: only what leaves their span is lost.
//!
//! A chain of projections with fresh noise multiplies these shares up, but not only them: the image of a direction
//! under one projection P has small parts along the others and outside all of them, and the next projection recovers
//! some of these. [`Transfer`] tracks the mean energies: with w the shares, m dimensions outside and `o = 1 - w`, `E
//! (u_i' P u_j)^2` is `w_i^2` for i = j and `o_i o_j / m` otherwise (the residuals of two directions meet at random),
//! the rest of `w_i` goes outside, and comes back from there at random.

/// The spectrum of data, and its sampling.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlap {
    /// Sums over the directions outside of 1 / (n (lambda - mu)^2), of each kept direction.
    quartic: Vec<f64>,
    /// The same of (lambda + mu) / (n (lambda - mu)^2).
    quadratic: Vec<f64>,
    /// The share that a lost direction keeps by chance, k / p.
    chance: f64,
}

impl Overlap {
    /// The leading `kept` of `variances`, largest first, in `dimension` dimensions; those beyond the variances have
    /// none. Noise is on each of `samples`.
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

    /// The squared cosine of direction `index` and the span, at noise of standard deviation `sigma` and its derivative
    /// by sigma: 1 without noise, k / p where the direction is lost.
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

/// The transfer of mean energies by one projection: of the kept directions, and of all dimensions outside them
/// together.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// w of each direction, and its derivative by the noise.
    kept: Vec<f64>,
    slopes: Vec<f64>,
    /// Dimensions outside.
    outside: f64,
}

/// Energies of the kept directions and of a dimension outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Energies {
    pub along: Vec<f64>,
    pub outside: f64,
}

impl Transfer {
    /// Of a projection on noisy samples at `sigma`, where there are `dimension` dimensions in all.
    #[must_use]
    pub fn new(overlap: &Overlap, sigma: f64, dimension: usize) -> Self {
        let (kept, slopes) = (0..overlap.kept()).map(|mode| overlap.squared_cosine(mode, sigma)).unzip();
        Self { kept, slopes, outside: dimension.saturating_sub(overlap.kept()).max(1) as f64 }
    }

    /// `o = 1 - w`, their sum, and the part of each direction that goes outside.
    fn parts(&self) -> (Vec<f64>, f64, Vec<f64>) {
        let lost: Vec<f64> = self.kept.iter().map(|kept| 1.0 - kept).collect();
        let total: f64 = lost.iter().sum();
        let leaving = self.kept.iter().zip(&lost).map(|(w, o)| o * (w - (total - o) / self.outside)).collect();
        (lost, total, leaving)
    }

    /// Energies that white noise has behind this projection alone.
    #[must_use]
    pub fn of_white(&self) -> Energies {
        let lost: f64 = self.kept.iter().map(|kept| 1.0 - kept).sum();
        Energies { along: self.kept.clone(), outside: lost / self.outside }
    }

    /// Energies before the projection from those behind it (`left` is false), or the derivatives of what is made of
    /// them the other way (`left` is true): the matrix of the transfer times a column, or a row times it.
    #[must_use]
    pub fn apply(&self, given: &Energies, left: bool) -> Energies {
        let (lost, total, leaving) = self.parts();
        let meeting: f64 = lost.iter().zip(&given.along).map(|(o, x)| o * x).sum();
        let (returned, gone) = if left { (given.outside / self.outside, 1.0) } else { (given.outside, self.outside) };
        let along = (0..lost.len()).map(|i| {
            let (w, o, x) = (self.kept[i], lost[i], given.along[i]);
            w * w * x + o * (meeting - o * x) / self.outside + leaving[i] * returned
        });
        let from_along: f64 = leaving.iter().zip(&given.along).map(|(r, x)| r * x).sum::<f64>() / gone;
        let stays = (total - leaving.iter().sum::<f64>()) / self.outside;
        Energies { along: along.collect(), outside: from_along + stays * given.outside }
    }

    /// The derivative by the noise of row times matrix times column.
    #[must_use]
    pub fn slope(&self, row: &Energies, column: &Energies) -> f64 {
        let (lost, total, _) = self.parts();
        let m = self.outside;
        let sum = |values: &[f64]| lost.iter().zip(values).map(|(o, value)| o * value).sum::<f64>();
        let (a_sum, x_sum) = (sum(&row.along), sum(&column.along));
        // The factor of the energy that leaves each direction.
        let leaving = |i: usize| column.outside * row.along[i] + row.outside * (column.along[i] - column.outside) / m;
        let leaving_sum: f64 = lost.iter().enumerate().map(|(i, o)| o * leaving(i)).sum();
        (0..lost.len())
            .map(|i| {
                let (w, o, a, x) = (self.kept[i], lost[i], row.along[i], column.along[i]);
                let by_kept = 2.0 * a * w * x
                    + (2.0 * a * o * x - a * x_sum - x * a_sum) / m
                    + leaving(i) * (o - w + (total - o) / m)
                    + (leaving_sum - leaving(i) * o) / m
                    - row.outside * column.outside / m;
                by_kept * self.slopes[i]
            })
            .sum()
    }

    /// The derivative by the noise of row times [`Self::of_white`].
    #[must_use]
    pub fn slope_of_white(&self, row: &Energies) -> f64 {
        let by_kept = row.along.iter().map(|a| a - row.outside / self.outside);
        by_kept.zip(&self.slopes).map(|(by_kept, slope)| by_kept * slope).sum()
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

    /// A small transfer as a matrix, from its definition.
    #[test]
    fn a_transfer_is_its_matrix_and_its_slope_a_slope() {
        let overlap = Overlap::new(&[5.0, 3.0, 1.0], 3, 200, 40);
        let (sigma, m) = (1.1, 37.0);
        let transfer = Transfer::new(&overlap, sigma, 40);
        let w: Vec<f64> = (0..3).map(|mode| overlap.squared_cosine(mode, sigma).0).collect();
        let matrix = |i: usize, j: usize| match (i, j) {
            (3, 3) => {
                let lost: f64 = w.iter().map(|w| 1.0 - w).sum();
                let leaving: f64 = (0..3).map(|i| w[i] * (1.0 - w[i]) - others(&w, i, m)).sum();
                (lost - leaving) / m
            }
            (3, j) => (w[j] * (1.0 - w[j]) - others(&w, j, m)) / m,
            (i, 3) => w[i] * (1.0 - w[i]) - others(&w, i, m),
            _ if i == j => w[i] * w[i],
            _ => (1.0 - w[i]) * (1.0 - w[j]) / m,
        };
        let given = [0.3, 0.2, 0.7, 0.4];
        let energies = Energies { along: given[..3].to_vec(), outside: given[3] };
        for left in [false, true] {
            let found = transfer.apply(&energies, left);
            for i in 0..4 {
                let entry = |j: usize| if left { matrix(j, i) } else { matrix(i, j) };
                let expected: f64 = (0..4).map(|j| entry(j) * given[j]).sum();
                let one = found.along.get(i).copied().unwrap_or(found.outside);
                assert!((one - expected).abs() < 1e-12, "{left}, {i}: {one} {expected}");
            }
        }
        let row = Energies { along: vec![1.0, -0.4, 0.6], outside: 0.9 };
        let value = |sigma: f64| {
            let transfer = Transfer::new(&overlap, sigma, 40);
            let dot = |energies: &Energies| {
                let along: f64 = energies.along.iter().zip(&row.along).map(|(a, b)| a * b).sum();
                along + energies.outside * row.outside
            };
            [dot(&transfer.apply(&energies, false)), dot(&transfer.of_white())]
        };
        let (above, below) = (value(sigma + 1e-6), value(sigma - 1e-6));
        let slopes = [transfer.slope(&row, &energies), transfer.slope_of_white(&row)];
        for at in 0..2 {
            let difference = (above[at] - below[at]) / 2e-6;
            assert!((slopes[at] - difference).abs() < 1e-7, "{at}: {} {difference}", slopes[at]);
        }
    }

    fn others(w: &[f64], i: usize, m: f64) -> f64 {
        (0..w.len()).filter(|j| *j != i).map(|j| (1.0 - w[i]) * (1.0 - w[j]) / m).sum()
    }
}
