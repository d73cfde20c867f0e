//! The data of each level: `x_0` under noise, coupled across levels in one of three ways.

use std::borrow::Cow;

use super::sigmas::totals;
use crate::data::Coupling;
use crate::noise::Purpose;
use crate::tensor::Tensor;

/// The source of the standard normals `xi_1` ... `xi_T`.
#[derive(Clone, Copy, Debug)]
pub enum LevelNoise<'a> {
    /// Given, (T, n, p).
    Given(&'a Tensor),
    /// Drawn: that of sample j at step t depends on (seed, j, t) alone.
    Seeded(u64),
}

impl LevelNoise<'_> {
    /// `xi_t`, (n, p), for t from 1.
    ///
    /// # Panics
    /// When given noise ends before t: a bug of the caller.
    #[must_use]
    pub fn step(&self, t: usize, [n, p]: [usize; 2]) -> Cow<'_, [f32]> {
        match self {
            Self::Given(noise) => Cow::Borrowed(noise.item(t - 1)),
            Self::Seeded(seed) => Cow::Owned(Purpose::ChainLevels.normal_rows(*seed, t as u32, n, p)),
        }
    }
}

/// `x_0`, `x_1`, ..., `x_T`, one after the other: no more than one level, and the noise so far, is held at a time.
pub struct Levels<'a> {
    data: &'a Tensor,
    sigmas: &'a [f64],
    totals: Vec<f64>,
    coupling: Coupling,
    noise: LevelNoise<'a>,
    next: usize,
    /// Nested: the sum of all noise so far; shared: the one noise.
    held: Vec<f64>,
}

impl<'a> Levels<'a> {
    /// The levels of `data` (n, p) under steps of `sigmas`.
    #[must_use]
    pub fn new(data: &'a Tensor, sigmas: &'a [f64], coupling: Coupling, noise: LevelNoise<'a>) -> Self {
        Self { data, sigmas, totals: totals(sigmas), coupling, noise, next: 0, held: Vec::new() }
    }

    fn shape(&self) -> [usize; 2] {
        [self.data.shape[0], self.data.shape[1]]
    }

    /// `x_0` plus `scale` times the noise held.
    fn noisy(&self, scale: f64) -> Tensor {
        let pairs = self.data.data.iter().zip(&self.held);
        let values = pairs.map(|(value, noise)| (f64::from(*value) + scale * noise) as f32).collect();
        Tensor::new(self.data.shape.clone(), values)
    }
}

impl Iterator for Levels<'_> {
    type Item = Tensor;

    fn next(&mut self) -> Option<Tensor> {
        let t = self.next;
        self.next += 1;
        if t == 0 {
            return Some(self.data.clone());
        }
        let sigma = *self.sigmas.get(t - 1)?;
        let shape = self.shape();
        match self.coupling {
            Coupling::Nested => {
                self.held.resize(self.data.data.len(), 0.0);
                let noise = self.noise.step(t, shape);
                self.held.iter_mut().zip(noise.iter()).for_each(|(sum, noise)| *sum += sigma * f64::from(*noise));
                Some(self.noisy(1.0))
            }
            Coupling::Fresh => {
                let noise = self.noise.step(t, shape);
                let scale = self.totals[t];
                let pairs = self.data.data.iter().zip(noise.iter());
                let values = pairs.map(|(value, noise)| (f64::from(*value) + scale * f64::from(*noise)) as f32);
                Some(Tensor::new(shape, values.collect()))
            }
            Coupling::Shared => {
                if t == 1 {
                    self.held = self.noise.step(1, shape).iter().map(|noise| f64::from(*noise)).collect();
                }
                Some(self.noisy(self.totals[t]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Spiked;

    /// The levels of one number 10 under noises 1, 2, 4 and sigmas 3, 4, 12: s = 3, 5, 13.
    fn levels(coupling: Coupling) -> Vec<f32> {
        let (data, noise) = (Tensor::new([1, 1], vec![10.0]), Tensor::new([3, 1, 1], vec![1.0, 2.0, 4.0]));
        Levels::new(&data, &[3.0, 4.0, 12.0], coupling, LevelNoise::Given(&noise)).map(|level| level.data[0]).collect()
    }

    #[test]
    fn the_couplings_are_those_of_their_definitions() {
        assert_eq!(levels(Coupling::Nested), [10.0, 13.0, 21.0, 69.0]);
        assert_eq!(levels(Coupling::Fresh), [10.0, 13.0, 20.0, 62.0]);
        assert_eq!(levels(Coupling::Shared), [10.0, 13.0, 15.0, 23.0]);
    }

    #[test]
    fn noise_knows_nothing_of_data_of_the_same_seed() {
        let model = Spiked { samples: 400, dimension: 6, spikes: vec![4.0, 1.0], noise: 1.0, seed: 3 };
        let data = model.generate().unwrap().samples;
        let directions = model.directions().unwrap();
        for t in 1..4 {
            let noise = LevelNoise::Seeded(3).step(t, [400, 6]).into_owned();
            for direction in &directions {
                for value in 0..6 {
                    let along =
                        |at: usize| data.item(at).iter().zip(direction).map(|(x, d)| f64::from(*x) * d).sum::<f64>();
                    let covariance =
                        (0..400).map(|at| along(at) * f64::from(noise[at * 6 + value])).sum::<f64>() / 400.0;
                    // Standard error sqrt(5 / 400) at most; shared factors would give 1 to 2.
                    assert!(covariance.abs() < 0.5, "step {t}, value {value}: {covariance}");
                }
            }
        }
    }

    #[test]
    fn seeded_noise_has_the_variance_of_the_schedule_in_every_coupling() {
        let data = Tensor::zeros([200, 50]);
        for coupling in Coupling::ALL {
            let levels: Vec<Tensor> = Levels::new(&data, &[0.5, 0.5], coupling, LevelNoise::Seeded(1)).collect();
            let variance: f64 = levels[2].data.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 10_000.0;
            assert!((variance - 0.5).abs() < 0.03, "{coupling}: {variance}");
        }
    }
}
