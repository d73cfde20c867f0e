//! Learned tokens (textual inversion, arXiv 2208.01618): vectors in place of rows of a text encoder's token table.
//!
//! A file holds the vectors of one token: `emb_params`, as AUTOMATIC1111's web UI saves them in safetensors; a tensor
//! by the name of the token, as diffusers does; or `clip_l` and `clip_g` for the two encoders of SDXL.

use std::path::{Path, PathBuf};

use super::digest::sha256;
use super::weights::Weights;
use crate::error::{Error, Result, excerpt};
use crate::tensor::Tensor;

/// The name of the tensor that does not name its token.
const UNNAMED: &str = "emb_params";
/// The name of the token in pickles of the web UI, which stands for the name of the file.
const ANY: &str = "*";
const OF_ANY: &str = "string_to_param.*";
/// The names of the tensors for the encoders of SDXL, in the order of these.
const OF_XL: [&str; 2] = ["clip_l", "clip_g"];
/// The most vectors of a token: more than any text has places for.
const MOST_VECTORS: usize = 1 << 10;

/// The vectors of a learned token.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The token: the one in the file, or the name of the file.
    pub token: String,
    /// The vectors for each text encoder, (vectors, channels).
    pub vectors: Vec<Tensor>,
}

impl Learned {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for a file that does not hold the vectors of one token.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::FileNotFound { path: path.to_path_buf() });
        }
        let weights = Weights::open(path)?;
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let has = |name: &str| names.iter().any(|found| found == name);
        let (token, keys) = match &names[..] {
            _ if has(UNNAMED) => (stem, vec![UNNAMED.to_owned()]),
            [_, _] if OF_XL.iter().all(|name| has(name)) => (stem, OF_XL.map(str::to_owned).to_vec()),
            [name] if name == ANY || name.ends_with(OF_ANY) => (stem, vec![name.clone()]),
            [name] => (name.clone(), vec![name.clone()]),
            _ => {
                let listed: Vec<_> = names.iter().take(3).map(|name| format!("`{}`", excerpt(name))).collect();
                let what = format!("not the vectors of one token: {} tensors, {} ...", names.len(), listed.join(", "));
                let hint = "a file of textual inversion holds `emb_params`, `clip_l` and `clip_g`, or one tensor by \
                            the name of its token";
                return Err(Error::bad_file_hint(path, what, hint));
            }
        };
        let vectors = keys.iter().map(|key| vectors(&weights, key)).collect::<Result<Vec<_>>>()?;
        if let Some(other) = vectors.iter().find(|other| other.shape[0] != vectors[0].shape[0]) {
            let what = format!("{} vectors for one encoder and {} for the other", vectors[0].shape[0], other.shape[0]);
            return Err(Error::bad_file(path, what));
        }
        Ok(Self { path: path.to_path_buf(), sha256: sha256(path)?, token, vectors })
    }
}

/// The vectors of a tensor: (vectors, channels), or (channels) for a single one.
fn vectors(weights: &Weights, key: &str) -> Result<Tensor> {
    let shape = weights.shape(key).unwrap_or_default().to_vec();
    let (rows, channels) = match shape[..] {
        [channels] => (1, channels),
        [rows, channels] => (rows, channels),
        _ => (0, 0),
    };
    if !(1..=MOST_VECTORS).contains(&rows) || channels == 0 {
        let what = format!("`{}` of shape {shape:?} does not hold vectors of a token", excerpt(key));
        return Err(Error::bad_file_hint(weights.path(), what, "vectors have the shape (vectors, channels)"));
    }
    Ok(Tensor::new([rows, channels], weights.fetch(key, &shape)?.data))
}
