//! Eigenpairs of symmetric operators: the trait of an operator ([`operator`]), solvers for its leading eigenpairs, and
//! the principal components of data by the cheapest route ([`principal`]).
//!
//! | solver | use |
//! |---|---|
//! | [`lanczos::lanczos`] | the default: fewest applications for a given residual |
//! | [`subspace::subspace_iteration`] | a block iterated as a whole; simple, slower where eigenvalues are close |
//! | [`power::power_iteration`] | one vector at a time, with deflation: the baseline of linear diffusion |
//! | [`randomized::range_finder`] | a fixed, small number of applications, without a promise about the residual |
//! | [`arnoldi::arnoldi`] | nearly symmetric operators, such as a network's Jacobian |
//!
//! An operator computes in float32, on a device or on the host, unless it says otherwise. The small parts are
//! float64 on the host: the basis, its orthogonality and the projected eigenproblem. Every result carries its
//! residuals, measured by one more application.

pub mod arnoldi;
pub mod around;
pub mod basis;
pub mod covariance;
pub mod host;
pub mod lanczos;
pub mod moments;
pub mod operator;
pub mod passes;
pub mod power;
pub mod principal;
pub mod randomized;
mod refine;
pub mod rows;
pub mod samples;
pub mod spectrum;
pub mod streamed;
pub mod subspace;

pub use around::{ComponentsAround, components_around};
pub use operator::SymmetricOperator;
pub use principal::{Arithmetic, Components, Route, principal_components};
pub use spectrum::{RelativeTo, Settings, Spectrum};
