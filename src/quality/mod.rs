//! How far a set of images is from another: features by a small classifier on the engine, their statistics in float64,
//! and distances between them.
//!
//! | measure | what it sees |
//! |---|---|
//! | [`frechet`] | means and covariances of features: what FID is, with another network |
//! | [`sliced`] | whole distributions, along random directions: of features or of pixels |
//!
//! The Frechet distance of n samples is biased upwards by about as much as their own mean and covariance are uncertain, so
//! figures compare only at one n, and the floor is what n real images score.

pub mod features;
pub mod frechet;
pub mod moments;
pub mod sliced;
pub mod statistics;

pub use features::Extractor;
pub use moments::Moments;
pub use statistics::Statistics;
