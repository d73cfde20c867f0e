//! Group normalisation in three stages: [`Moments`] of chunks of pixels, [`GroupNormFold`] of statistics and weights into
//! one multiply-add a channel, and [`ScaleShift`], which applies it (a consumer that applies it itself needs no third).

mod fold;
mod moments;
mod scale_shift;

pub use fold::GroupNormFold;
pub use moments::Moments;
pub use scale_shift::ScaleShift;
