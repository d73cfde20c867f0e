//! The posterior mean of a mixture of Gaussians, in float64 on the host.
//!
//! Where x = k + sigma w and k is of component i with the probability `p_i`, a Gaussian of mean `m_i` and covariance
//! `S_i`,
//!
//! ```text
//! x0 = sum_i r_i(x) (m_i + S_i (S_i + sigma^2 I)^-1 (x - m_i)),   r_i(x) ~ p_i N(x; m_i, S_i + sigma^2 I)
//! ```
//!
//! Of one component it is the Wiener filter. Without noise between components each x belongs to the one of which its
//! distance outside the support is least; under much noise all keep their shares, and x0 is the mean.

use faer::{Col, Mat};
use rayon::prelude::*;

use super::clusters::clusters;
use super::linear::{column, not_negative, whole_spectrum};
use crate::data::Dataset;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::spectral::basis::eigen;
use crate::tensor::Tensor;

/// A Gaussian of a mixture.
#[derive(Clone, Debug, PartialEq)]
struct Component {
    /// ln p.
    log_share: f64,
    mean: Col<f64>,
    /// Orthonormal directions as columns, (p, r).
    directions: Mat<f64>,
    /// The variances along them.
    variances: Vec<f64>,
    /// The variance along every other direction.
    rest: f64,
}

/// A mixture of Gaussians, as a denoiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    components: Vec<Component>,
    image: [usize; 3],
}

/// A component under noise: what it says about x.
struct Opinion {
    /// ln (p N(x; m, S + sigma^2 I)).
    log_weight: f64,
    /// The posterior mean of k.
    prediction: Col<f64>,
}

impl Mixture {
    /// At most `count` Gaussians with the means, the covariances and the shares of the clusters of the data by k-means
    /// from `seed`. With a `rank` a covariance keeps that many leading variances, and along all other directions the
    /// mean of the rest.
    ///
    /// # Errors
    /// Those of the clusters; [`crate::Error::Argument`] for clusters of more values and samples than a matrix is
    /// formed of.
    pub fn of_clusters(
        data: &Dataset,
        count: usize,
        rank: Option<usize>,
        seed: u64,
        image: [usize; 3],
    ) -> Result<Self> {
        let total = data.count() as f64;
        let component = |members: Vec<usize>| {
            let values = members.iter().flat_map(|at| data.samples.item(*at).iter().copied()).collect();
            let samples = Tensor::new([members.len(), data.dimension()], values);
            let mut cluster = Dataset { samples, name: data.name.clone(), sample_shape: data.sample_shape.clone() };
            let mean = cluster.centre();
            let (variances, directions) = whole_spectrum(&cluster)?;
            let whole = Component {
                log_share: (members.len() as f64 / total).ln(),
                mean: column(&mean),
                directions,
                variances,
                rest: 0.0,
            };
            Ok(rank.map_or_else(|| whole.clone(), |rank| whole.of_rank(rank)))
        };
        let components = clusters(data, count, seed)?.into_iter().map(component).collect::<Result<_>>()?;
        Ok(Self { components, image })
    }

    /// The mixture of Gaussians that are given as (share, mean, covariance). The shares add up to 1.
    ///
    /// # Errors
    /// Those of [`eigen`].
    pub fn of_moments(parts: &[(f64, Vec<f64>, Mat<f64>)], image: [usize; 3]) -> Result<Self> {
        let component = |(share, mean, covariance): &(f64, Vec<f64>, Mat<f64>)| {
            let (values, directions) = eigen(covariance.as_ref())?;
            let variances = not_negative(values);
            Ok(Component { log_share: share.ln(), mean: column(mean), directions, variances, rest: 0.0 })
        };
        Ok(Self { components: parts.iter().map(component).collect::<Result<_>>()?, image })
    }

    /// The share of each component.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        self.components.iter().map(|component| component.log_share.exp()).collect()
    }

    /// The logarithm of the density of x = k + sigma w, of which the score is -eps / sigma. `sigma` is above zero.
    #[must_use]
    pub fn log_density(&self, x: &[f64], sigma: f64) -> f64 {
        let opinions: Vec<Opinion> = self.components.iter().map(|component| component.opinion(x, sigma)).collect();
        let most = heaviest(&opinions);
        most + opinions.iter().map(|opinion| (opinion.log_weight - most).exp()).sum::<f64>().ln()
    }

    /// The posterior mean of k, given x = k + sigma w.
    #[must_use]
    pub fn prediction(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        let opinions: Vec<Opinion> = self.components.iter().map(|component| component.opinion(x, sigma)).collect();
        let most = heaviest(&opinions);
        let weight = |opinion: &Opinion| (opinion.log_weight - most).exp();
        let total: f64 = opinions.iter().map(weight).sum();
        let mut mean = vec![0.0; x.len()];
        for opinion in &opinions {
            let share = weight(opinion) / total;
            mean.iter_mut().zip(opinion.prediction.iter()).for_each(|(mean, value)| *mean += share * value);
        }
        mean
    }
}

fn heaviest(opinions: &[Opinion]) -> f64 {
    opinions.iter().map(|opinion| opinion.log_weight).fold(f64::NEG_INFINITY, f64::max)
}

impl Component {
    /// Keeps the leading `rank` variances, and along all other directions the mean of the rest.
    fn of_rank(&self, rank: usize) -> Self {
        let dimension = self.mean.nrows();
        let kept = rank.min(self.variances.len());
        let rest = self.variances[kept..].iter().sum::<f64>() / (dimension - kept).max(1) as f64;
        Self {
            directions: self.directions.subcols(0, kept).to_owned(),
            variances: self.variances[..kept].to_vec(),
            mean: self.mean.clone(),
            rest,
            ..*self
        }
    }

    fn opinion(&self, x: &[f64], sigma: f64) -> Opinion {
        let noise = sigma * sigma;
        let centred = Col::from_fn(x.len(), |at| x[at] - self.mean[at]);
        let mut along = self.directions.transpose() * &centred;
        let outside = &centred - &self.directions * &along;
        let others = x.len() - self.variances.len();
        let mut log_weight = self.log_share - 0.5 * outside.squared_norm_l2() / (self.rest + noise);
        log_weight -= 0.5 * (x.len() as f64 * std::f64::consts::TAU.ln() + others as f64 * (self.rest + noise).ln());
        for (part, variance) in along.iter_mut().zip(&self.variances) {
            let total = variance + noise;
            log_weight -= 0.5 * (*part * *part / total + total.ln());
            *part *= variance / total;
        }
        let kept = self.rest / (self.rest + noise);
        let inside = &self.directions * &along;
        let prediction = Col::from_fn(x.len(), |at| self.mean[at] + inside[at] + kept * outside[at]);
        Opinion { log_weight, prediction }
    }
}

impl Denoiser for Mixture {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigmas = Level::sigmas(levels);
        let images = sigmas.par_iter().enumerate().map(|(at, sigma)| {
            let x: Vec<f64> = x.item(at).iter().map(|value| f64::from(*value)).collect();
            let prediction = self.prediction(&x, *sigma);
            x.iter().zip(prediction).map(|(x, x0)| ((x - x0) / sigma) as f32).collect::<Vec<f32>>()
        });
        let data = images.collect::<Vec<_>>().concat();
        Ok(Tensor::new(x.shape.clone(), data))
    }
}
