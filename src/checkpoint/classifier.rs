//! The embedded classifier of digits: see `weights/digits-classifier/README.md`.

use super::config::ConfigFile;
use super::weights::Weights;
use crate::error::Result;

/// Returns its configuration and its weights.
///
/// # Errors
/// None in a build that passes its tests.
pub fn digits_classifier() -> Result<(ConfigFile, Weights)> {
    let config = ConfigFile::parse(
        "(embedded classifier)/config.json",
        include_bytes!("../../weights/digits-classifier/config.json"),
    )?;
    let weights = Weights::from_bytes(
        "(embedded classifier)/model.safetensors",
        include_bytes!("../../weights/digits-classifier/model.safetensors").as_slice(),
    )?;
    Ok((config, weights))
}
