//! Eigenpairs of symmetric operators: what an operator is ([`operator`]), who solves for its leading eigenpairs, and the
//! principal components of data, by the cheapest route ([`principal`]).
//!
//! | solver | when |
//! |---|---|
//! | [`lanczos::lanczos`] | the usual one: fewest applications for a given residual |
//! | [`subspace::subspace_iteration`] | a block held against itself; simple, slower where eigenvalues are close |
//! | [`power::power_iteration`] | one vector at a time, deflated: what linear diffusion is held against |
//! | [`randomized::range_finder`] | a fixed, small number of applications, without a promise about the residual |
//! | [`arnoldi::arnoldi`] | the operator is symmetric only nearly, as a network's Jacobian |
//!
//! An operator computes in float32, on a device or not. What is small is float64 on the host by a library: the basis,
//! its orthogonality, the projected eigenproblem. Every answer carries its residuals, measured by one more application.

pub mod arnoldi;
pub mod basis;
pub mod covariance;
pub mod host;
pub mod lanczos;
pub mod moments;
pub mod operator;
pub mod power;
pub mod principal;
pub mod randomized;
pub mod samples;
pub mod spectrum;
pub mod subspace;

pub use operator::SymmetricOperator;
pub use principal::{Components, Route, principal_components};
pub use spectrum::{Settings, Spectrum};
