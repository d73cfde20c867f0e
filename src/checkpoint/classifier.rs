//! The classifier of digits within the program: see `weights/digits-classifier/README.md`.

use super::config::ConfigFile;
use super::weights::Weights;
use crate::error::Result;

/// Its configuration and its weights.
///
/// # Errors
/// None that a build which passes its tests can meet.
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
