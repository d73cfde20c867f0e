//! Group normalisation in three stages: [`Moments`] of chunks of pixels, [`GroupNormFold`] of statistics and weights
//! into one multiply-add per channel (both at once on software adapters, [`GroupNormFactors`]), and [`ScaleShift`],
//! which applies it (a reader that applies it itself does not need the third).

mod at_once;
mod fold;
mod moments;
mod scale_shift;

pub(super) use fold::Affine;

pub use at_once::GroupNormFactors;
pub use fold::GroupNormFold;
pub use moments::Moments;
pub use scale_shift::ScaleShift;
