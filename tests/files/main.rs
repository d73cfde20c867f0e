//! Files: models, malformed ones, downloads, and noise read beside the published generator.

mod bad;
mod checkpoint;
#[cfg(feature = "download")]
mod download;
mod noise;
