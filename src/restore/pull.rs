//! The pull of a measurement on x0: `sigma^2 J' A' (A K A' + s^2)^-1 (y - A x0)`, where K is the covariance of x0 given
//! the state.

use super::{Covariance, Guided, Method, USUAL_VARIANCE};
use crate::denoise::Level;
use crate::error::Result;
use crate::tensor::Tensor;

/// Residuals whose product with their preconditioned form has shrunk to this share are rounding.
const LEAST_SHARE: f64 = 1e-12;

/// The conjugate gradients of one image, by modes.
struct Solve {
    /// The inverse of the preconditioner.
    inverse: Vec<f64>,
    residual: Vec<f64>,
    direction: Vec<f64>,
    /// The product of the residual and its preconditioned form, and the first of these.
    product: f64,
    first: f64,
}

impl Solve {
    /// A solve before its first product, for a residual y - A x0 under an isotropic covariance of x0.
    fn new(residual: Vec<f64>, singular_values: &[f64], spread: f64, noise: f64) -> Self {
        let of_mode = |s: &f64| if *s > 0.0 { (spread * s * s + noise * noise).recip() } else { 0.0 };
        let inverse: Vec<f64> = singular_values.iter().map(of_mode).collect();
        let direction: Vec<f64> = residual.iter().zip(&inverse).map(|(r, p)| r * p).collect();
        let product = dot(&residual, &direction);
        Self { inverse, residual, direction, product, first: product }
    }

    /// The step along the direction, of which `moved` is the product with A K A' + s^2: 0 where there is nothing left
    /// to solve, or where the Jacobian is not positive along the direction.
    fn length(&self, moved: &[f64]) -> f64 {
        let curvature = dot(&self.direction, moved);
        let length = self.product / curvature;
        let is_done = self.product <= LEAST_SHARE * self.first;
        if is_done || curvature <= 0.0 || !length.is_finite() { 0.0 } else { length }
    }

    fn step(&mut self, length: f64, moved: &[f64]) {
        self.residual.iter_mut().zip(moved).for_each(|(r, m)| *r -= length * m);
        let preconditioned: Vec<f64> = self.residual.iter().zip(&self.inverse).map(|(r, p)| r * p).collect();
        let product = dot(&self.residual, &preconditioned);
        let kept = if self.product > 0.0 { product / self.product } else { 0.0 };
        self.direction.iter_mut().zip(preconditioned).for_each(|(d, z)| *d = z + kept * *d);
        self.product = product;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Moves `x0`, the denoiser's at `x`, by the pull of the measurement of each image.
///
/// # Errors
/// Those of the pullback.
pub(super) fn pull(
    guided: &mut Guided,
    (x, levels): (&Tensor, &[Level]),
    covariance: Covariance,
    x0: &mut Tensor,
) -> Result<()> {
    let (measurement, which) = (guided.measurement(), guided.which().to_vec());
    let (operator, noise) = (measurement.operator(), measurement.noise());
    let (variance, products, searches) = match covariance {
        Covariance::Isotropic(variance) => (variance, 1, false),
        Covariance::Jacobian(products) => (USUAL_VARIANCE, products, true),
    };
    let begin = |(at, level): (usize, &Level)| {
        let residual = measurement.apart(which[at], &measurement.modes_of(x0.item(at)));
        Solve::new(residual, operator.singular_values(), Method::spread(variance, level.sigma), noise)
    };
    let mut solves: Vec<Solve> = levels.iter().enumerate().map(begin).collect();
    let stride = x0.stride().max(1);
    for _ in 0..products {
        let of_image = |solve: &Solve| {
            let modes: Vec<f64> = solve.direction.iter().zip(operator.singular_values()).map(|(d, s)| d * s).collect();
            operator.image(&modes)
        };
        let vectors = solves.iter().flat_map(of_image).map(|value| value as f32).collect::<Vec<_>>();
        let found = guided.pulled(x, levels, &Tensor::new(x0.shape.clone(), vectors))?;
        for (at, solve) in solves.iter_mut().enumerate() {
            // Tweedie's formulas: x0 is x + sigma^2 times the score, and its covariance sigma^2 J.
            let square = levels[at].sigma.powi(2);
            let product: Vec<f64> = found.item(at).iter().map(|value| square * f64::from(*value)).collect();
            let length = if searches {
                let modes = operator.modes(&product);
                let of_noise = solve.direction.iter().map(|d| noise * noise * d);
                let moved = modes.iter().zip(operator.singular_values()).zip(of_noise);
                let moved: Vec<f64> = moved.map(|((m, s), of_noise)| s * m + of_noise).collect();
                let length = solve.length(&moved);
                solve.step(length, &moved);
                length
            } else {
                1.0
            };
            let image = x0.data[at * stride..][..stride].iter_mut().zip(product);
            image.for_each(|(x0, moved)| *x0 = (f64::from(*x0) + length * moved) as f32);
        }
    }
    Ok(())
}
