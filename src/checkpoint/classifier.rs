//! The embedded classifier of digits: see `weights/digits-classifier/README.md`.

use super::config::ConfigFile;
use super::weights::Weights;
use crate::error::Result;
use crate::input::sha256_of;

const WEIGHTS: &[u8] = include_bytes!("../../weights/digits-classifier/model.safetensors");

/// Returns its configuration and its weights.
///
/// # Errors
/// None in a build that passes its tests.
pub fn digits_classifier() -> Result<(ConfigFile, Weights)> {
    let config = ConfigFile::parse(
        "(embedded classifier)/config.json",
        include_bytes!("../../weights/digits-classifier/config.json"),
    )?;
    let weights = Weights::from_bytes("(embedded classifier)/model.safetensors", WEIGHTS)?;
    Ok((config, weights))
}

/// The SHA-256 of the weights of the classifier of digits, in hexadecimal.
pub(crate) fn digits_classifier_sha256() -> String {
    sha256_of(WEIGHTS)
}
