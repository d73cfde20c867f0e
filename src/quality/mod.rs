//! Distances between sets of images: features on the engine by a small classifier or by InceptionV3, their statistics
//! in float64, and distances between them.
//!
//! | measure | compares |
//! |---|---|
//! | [`frechet`] | means and covariances of features, as FID does with those of InceptionV3 |
//! | [`kid`] | features by a polynomial kernel, without bias: the kernel Inception distance |
//! | [`neighbours`] | precision, recall, density and coverage of features |
//! | [`sliced`] | whole distributions along random directions, of features or of pixels |
//!
//! [`difference`] compares single files value by value.
//!
//! The Frechet distance of n samples is biased upwards by about the uncertainty of their mean and covariance. Figures
//! are therefore comparable only at the same n, and the floor is the score of n real images.

pub mod difference;
pub mod features;
pub mod frechet;
pub mod kid;
pub mod moments;
pub mod neighbours;
pub mod sliced;
pub mod statistics;
pub mod subsets;

pub use features::{Extractor, Features};
pub use moments::Moments;
pub use statistics::Statistics;
