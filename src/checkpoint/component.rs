//! The weight files of one component of a diffusers folder.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::ConfigFile;
use super::pickle;
use super::pipeline::CONFIG;
use super::weights::Weights;
use crate::error::{Error, Result, excerpt};
use crate::held;

/// The stem of weight files in diffusers.
const STEM: &str = "diffusion_pytorch_model";
/// The stem of weight files in transformers.
pub(super) const TRANSFORMERS_STEM: &str = "model";
/// The same for files of `PyTorch`.
const TRANSFORMERS_PICKLE_STEM: &str = "pytorch_model";
/// The variants tried, in this order, when the plain weights are missing.
const VARIANTS: [&str; 4] = ["fp16", "bf16", "ema", "non_ema"];

/// Opens the weights in `folder`: plain, sharded, or a variant of them. `stem` is the beginning of the file names, by
/// default that of diffusers.
pub(super) fn open_weights(folder: &Path, stem: Option<&str>) -> Result<Weights> {
    let stem = stem.unwrap_or(STEM);
    for (file, index, variant) in candidates(stem) {
        let (file, index) = (folder.join(file), folder.join(index));
        if held::is_file(&file) {
            return Ok(Weights::open(&file)?.with_variant(variant));
        }
        if held::is_file(&index) {
            return Ok(open_sharded(&index)?.with_variant(variant));
        }
    }
    Err(no_weights(folder, stem))
}

/// Returns the file names of the weights and of their shard index, and their variant, best first: plain weights before
/// variants, as diffusers takes them, and safetensors before files of `PyTorch`.
fn candidates(stem: &str) -> impl Iterator<Item = (String, String, Option<&'static str>)> + '_ {
    let pickle = if stem == TRANSFORMERS_STEM { TRANSFORMERS_PICKLE_STEM } else { stem };
    let variants = std::iter::once(None).chain(VARIANTS.into_iter().map(Some));
    variants.flat_map(move |variant| {
        let dotted = variant.map(|variant| format!(".{variant}")).unwrap_or_default();
        [(stem, "safetensors"), (pickle, "bin")].map(|(stem, suffix)| {
            (format!("{stem}{dotted}.{suffix}"), format!("{stem}.{suffix}.index{dotted}.json"), variant)
        })
    })
}

/// Opens the shards that an index names, and checks that each tensor is in the file that the index says.
fn open_sharded(index: &Path) -> Result<Weights> {
    let placed = weight_map(index)?;
    let folder = index.parent().unwrap_or(Path::new(""));
    let names: BTreeSet<&str> = placed.iter().map(|(_, shard)| shard.as_str()).collect();
    let shards: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    if let Some((shard, name)) = shards.iter().zip(&names).find(|(shard, _)| !held::is_file(shard)) {
        return Err(Error::bad_file_hint(
            shard,
            format!("this shard is missing; `{}` places tensors in `{}`", index.display(), excerpt(name)),
            "download or copy the missing file",
        ));
    }
    let weights = Weights::open_shards(index, &shards)?;
    let stored: HashSet<(&str, &Path)> = weights.places().collect();
    for (key, shard) in &placed {
        if !stored.contains(&(key.as_str(), folder.join(shard).as_path())) {
            return Err(Error::bad_file(
                index,
                format!("places tensor `{}` in `{}`, which does not hold it", excerpt(key), excerpt(shard)),
            ));
        }
    }
    Ok(weights)
}

/// Reads the tensors of an index and the file names of their shards.
fn weight_map(index: &Path) -> Result<Vec<(String, String)>> {
    let config = ConfigFile::read_list(index)?;
    let Some(Value::Object(map)) = config.values.get("weight_map") else {
        return Err(config.wrong_value("weight_map", "an object that places each tensor in a file"));
    };
    map.iter()
        .map(|(key, shard)| match shard.as_str() {
            // A plain file name: an index must not refer outside its folder.
            Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => Ok((key.clone(), name.to_owned())),
            _ => Err(Error::bad_file(
                index,
                format!(
                    "`weight_map` places tensor `{}` in {}, which is not a file name",
                    excerpt(key),
                    excerpt(&shard.to_string())
                ),
            )),
        })
        .collect()
}

/// The error for a folder without weights, with a hint from the files it does contain.
fn no_weights(folder: &Path, stem: &str) -> Error {
    let mut files = held::entries(folder);
    files.sort();
    let folder_of_name = [format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json")]
        .into_iter()
        .find(|name| folder.join(name).is_dir());
    if let Some(name) = folder_of_name {
        let what = format!("no weights: `{name}` is a folder, not a file");
        return Error::bad_file_hint(folder, what, "replace the folder by the file of that name");
    }
    let wanted = format!("no weights: neither `{stem}.safetensors` nor `{stem}.safetensors.index.json`");
    let is_weights = |file: &&PathBuf| {
        !file.is_dir() && (file.extension().is_some_and(|suffix| suffix == "safetensors") || pickle::has_suffix(file))
    };
    match files.iter().find(is_weights) {
        Some(other) => Error::bad_file_hint(folder, wanted, format!("to use `{0}`, name that file", other.display())),
        None => Error::bad_file_hint(folder, wanted, "download or copy the weights beside the configuration"),
    }
}

/// Reads the configuration and opens the weights of a network in a folder of transformers.
///
/// # Errors
/// [`Error::BadFile`] naming the file that is missing or malformed.
pub fn transformers_folder(folder: &Path) -> Result<(ConfigFile, Weights)> {
    Ok((ConfigFile::read(&folder.join(CONFIG))?, open_weights(folder, Some(TRANSFORMERS_STEM))?))
}
