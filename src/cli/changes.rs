//! Flags of what is added to a model: LoRA files, learned tokens, other autoencoders.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Result;
use crate::model::Model;

const CHANGES: &str = "Additions to the model";

/// The flags of what is added to a model.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ChangeArgs {
    /// LoRA file whose changes are merged into the weights, times W [default: 1]; may be given several times
    #[arg(long, value_name = "FILE[:W]", help_heading = CHANGES)]
    pub lora: Vec<LoraArg>,

    /// File of a learned token (textual inversion), and the token in place of the one that the file names; may be given
    /// several times
    #[arg(long, value_name = "FILE[:TOKEN]", help_heading = CHANGES)]
    pub embedding: Vec<EmbeddingArg>,

    /// Folder of an autoencoder in place of that of the model, such as a fast one (`AutoencoderTiny`, TAESD)
    #[arg(long, value_name = "DIR", help_heading = CHANGES)]
    pub vae: Option<String>,

    /// Folder of an autoencoder that only decodes the predictions at each step
    #[arg(long, value_name = "DIR", help_heading = CHANGES)]
    pub preview_vae: Option<String>,
}

impl ChangeArgs {
    /// Adds everything to `model`.
    ///
    /// # Errors
    /// Those of [`Model::lora`] and [`Model::autoencoder`].
    pub fn apply(&self, mut model: Model) -> Result<Model> {
        for LoraArg { file, weight } in &self.lora {
            model = model.lora(file, *weight)?;
        }
        for EmbeddingArg { file, token } in &self.embedding {
            model = model.embedding(file, token.as_deref())?;
        }
        if let Some(folder) = &self.vae {
            model = model.autoencoder(folder)?;
        }
        if let Some(folder) = &self.preview_vae {
            model = model.preview_autoencoder(folder)?;
        }
        Ok(model)
    }
}

/// A value of `--lora`: a file, and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraArg {
    pub file: PathBuf,
    pub weight: f64,
}

impl FromStr for LoraArg {
    type Err = Infallible;

    /// The weight is the number behind the last colon, unless the whole text is the name of a file.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        let parts = text.rsplit_once(':').filter(|_| !Path::new(text).exists());
        let weighted = parts.and_then(|(file, weight)| Some((file, weight.parse().ok()?)));
        let (file, weight) = weighted.unwrap_or((text, 1.0));
        Ok(Self { file: PathBuf::from(file), weight })
    }
}

/// A value of `--embedding`: a file, and the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingArg {
    pub file: PathBuf,
    pub token: Option<String>,
}

impl FromStr for EmbeddingArg {
    type Err = Infallible;

    /// The token is what follows the last colon behind the suffix of the file, unless the whole text is the name of a
    /// file.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        let parts = text.rsplit_once(':').filter(|(file, token)| {
            !Path::new(text).exists() && !token.is_empty() && Path::new(file).extension().is_some()
        });
        let (file, token) = parts.map_or((text, None), |(file, token)| (file, Some(token.to_owned())));
        Ok(Self { file: PathBuf::from(file), token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_stands_behind_the_last_colon() {
        for (text, file, weight) in [
            ("a.safetensors", "a.safetensors", 1.0),
            ("a.safetensors:0.8", "a.safetensors", 0.8),
            ("c:/a.safetensors", "c:/a.safetensors", 1.0),
            ("c:/a.safetensors:-1", "c:/a.safetensors", -1.0),
        ] {
            assert_eq!(text.parse(), Ok(LoraArg { file: file.into(), weight }), "{text}");
        }
    }
}
