//! Files: models, malformed ones, downloads, noise beside the published generator, and the style of these sources.

mod bad;
mod checkpoint;
mod ddim;
#[cfg(feature = "download")]
mod download;
mod fuzz;
#[cfg(feature = "download")]
#[path = "../common/hub.rs"]
mod hub;
mod noise;
mod pickle;
mod pictures;
mod results;
mod slow;
mod style;
