//! Noise levels.

use super::diffusion::{NoiseTable, alpha_bar_of};

/// One noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The noise-to-signal ratio, 0 for a clean image.
    pub sigma: f64,
    /// The timestep at which a network is called, if it is not the one of sigma: some of diffusers' grids round the
    /// timesteps and not the sigmas. `None` on a grid of sigmas and for the clean end.
    pub timestep: Option<f64>,
}

impl Level {
    /// No noise: the end of a walk.
    pub const CLEAN: Self = Self { sigma: 0.0, timestep: None };

    /// The level of this sigma, at whatever timestep the model has for it.
    #[must_use]
    pub fn at_sigma(sigma: f64) -> Self {
        Self { sigma, timestep: None }
    }

    /// The level of a timestep.
    #[must_use]
    pub fn at_timestep(table: &NoiseTable, timestep: f64) -> Self {
        Self { sigma: table.sigma(timestep), timestep: Some(timestep) }
    }

    /// The level of the model's table at `index`, from 0: the one of timestep `index` for a network that was trained
    /// with betas.
    #[must_use]
    pub fn at_index(table: &NoiseTable, index: usize) -> Self {
        Self { sigma: table.sigmas()[index], timestep: Some(table.timestep_at(index)) }
    }

    /// One level per sigma.
    #[must_use]
    pub fn each(sigmas: &[f64]) -> Vec<Self> {
        sigmas.iter().map(|sigma| Self::at_sigma(*sigma)).collect()
    }

    /// The sigma of each level.
    #[must_use]
    pub fn sigmas(levels: &[Self]) -> Vec<f64> {
        levels.iter().map(|level| level.sigma).collect()
    }

    /// The timestep at which a network is called.
    #[must_use]
    pub fn called_at(self, table: &NoiseTable) -> f64 {
        self.timestep.unwrap_or_else(|| table.timestep(self.sigma))
    }

    /// alpha bar = 1 / (1 + sigma^2).
    #[must_use]
    pub fn alpha_bar(self) -> f64 {
        alpha_bar_of(self.sigma)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(timestep) = self.timestep {
            write!(f, "timestep {timestep}, ")?;
        }
        match self.sigma {
            sigma if sigma.is_infinite() => f.write_str("pure noise"),
            sigma if sigma >= 1e6 => write!(f, "sigma {sigma:.4e}"),
            sigma => write!(f, "sigma {sigma:.4}"),
        }
    }
}
