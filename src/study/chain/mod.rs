//! The linear diffusion chain: data under growing noise, the principal components of each level, and the product of the
//! projections on them (Weitzner et al. 2024, arXiv 2410.14730, equations 10, 11 and 13).
//!
//! ```text
//! x_t = x_0 + noise of variance s_t^2, s_t^2 = sum over tau <= t of sigma_tau^2      (levels)
//! S_t = x_t' x_t / n = U_t L_t U_t', the k leading columns kept                      (projector)
//! P   = U_0 U_0' U_1 U_1' ... U_T U_T' = U_0 C_T U_T'                                (product)
//! ```
//!
//! The paper leaves open how the noise of different levels is coupled, and the results depend on it, so there are three
//! forms: [`Coupling`]. Only C, k x k, is accumulated. It is kept at norm 1, beside the logarithm of its norm, so that
//! nothing underflows for any T.

mod levels;
mod product;
mod projector;
mod sigmas;

pub use levels::{LevelNoise, Levels};
pub use product::{Chain, Projections, normalised_energy, participation_ratio};
pub use projector::{Arithmetic, Leading, Projector};
pub use sigmas::Schedule;

pub use crate::data::Coupling;
