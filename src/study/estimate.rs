//! Means over repetitions, and their uncertainty.

/// The mean over repetitions with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// Standard error of the mean; zero for a single value.
    pub standard_error: f64,
    /// Half of the 95 % confidence interval of the mean (Student).
    pub half_width: f64,
    /// Values, n.
    pub count: usize,
}

impl Estimate {
    /// The estimate from `values`. The mean of no values is NaN.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        if count < 2 {
            return Self { mean, standard_error: 0.0, half_width: 0.0, count };
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (squares / (count - 1) as f64 / count as f64).sqrt();
        Self { mean, standard_error, half_width: student(count - 1) * standard_error, count }
    }

    /// The confidence interval.
    #[must_use]
    pub fn band(&self) -> (f64, f64) {
        (self.mean - self.half_width, self.mean + self.half_width)
    }
}

/// The 97.5 % quantile of Student's t with this number of degrees of freedom.
fn student(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    if let Some(quantile) = FEW.get(freedom.wrapping_sub(1)) {
        return *quantile;
    }
    // Cornish and Fisher's expansion about the normal quantile, good to 0.0005 here.
    let (z, n) = (1.959_964_f64, freedom as f64);
    let third = 3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z;
    z + (z.powi(3) + z) / (4.0 * n)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
        + third / (384.0 * n * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_student() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((estimate.mean, estimate.count), (3.0, 5));
        assert!((estimate.standard_error - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((estimate.half_width - 2.776 * 0.5f64.sqrt()).abs() < 1e-12);
        for (freedom, quantile) in [(11, 2.201), (20, 2.086), (60, 2.000), (1000, 1.962)] {
            assert!((student(freedom) - quantile).abs() < 1e-3, "{freedom}");
        }
        assert_eq!(Estimate::of(&[2.0]).band(), (2.0, 2.0));
        assert!(Estimate::of(&[]).mean.is_nan());
    }
}
