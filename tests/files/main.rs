//! Files: models, malformed ones, downloads, noise beside the published generator, and the style of these sources.

mod bad;
mod checkpoint;
#[cfg(feature = "download")]
mod download;
mod noise;
mod style;
