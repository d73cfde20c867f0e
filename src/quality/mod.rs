//! Distances between sets of images: features by a small classifier on the engine, their statistics in float64, and two
//! distances between them.
//!
//! | measure | compares |
//! |---|---|
//! | [`frechet`] | means and covariances of features, as FID does with another network |
//! | [`sliced`] | whole distributions along random directions, of features or of pixels |
//!
//! The Frechet distance of n samples is biased upwards by about the uncertainty of their mean and covariance. Figures
//! are therefore comparable only at the same n, and the floor is the score of n real images.

pub mod features;
pub mod frechet;
pub mod moments;
pub mod sliced;
pub mod statistics;

pub use features::Extractor;
pub use moments::Moments;
pub use statistics::Statistics;
