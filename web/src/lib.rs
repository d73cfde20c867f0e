//! The engine in browsers: what `downhill.js` wraps. Values cross as typed arrays, settings and facts as JSON.

mod chain;
mod device;
mod model;
mod nearest;
mod sampling;
mod tables;
mod value;

pub use chain::chain;
pub use model::{Model, open};
pub use sampling::Sampling;
pub use tables::{pixels, samplers, schedules};
