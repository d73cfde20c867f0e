//! LoRA files: changes of low rank to the weights of a model, merged as the weights are read.
//!
//! The change of a linear layer or a convolution is `weight * alpha / rank * up * down`, where `down` has as many
//! outputs as the change has ranks, and `up` applies no kernel (LoRA, arXiv 2106.09685; LoCon for convolutions). It is
//! added in float64 to the stored weight and rounded to float32 once, before anything is packed or halved. Methods that
//! are not such a product (`DoRA`, `LoHa`, `LoKr`, Tucker decompositions, whole differences) are refused by name.

mod change;
mod names;
mod settings;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(super) use change::{Change, apply};
pub use names::{Dialect, Part};
use names::{Role, parse};
use settings::Settings;
pub use targets::Merged;

use super::config::ConfigFile;
use super::digest::sha256;
use super::header;
use super::source::Source;
use super::weights::Weights;
use crate::error::{Error, Result, excerpt};
use crate::formats::json;

/// The file of the factors in a folder that PEFT saved.
const OF_PEFT: &str = "adapter_model.safetensors";
const PEFT_CONFIG: &str = "adapter_config.json";
/// The metadata in which diffusers keeps the settings of PEFT.
const SETTINGS: &str = "lora_adapter_metadata";
/// Metadata that name the model of the training.
const BASES: [&str; 3] = ["modelspec.architecture", "ss_base_model_version", "ss_sd_model_name"];

/// A LoRA file that was opened: its names and shapes, with the factors left in the file.
#[derive(Clone, Debug)]
pub struct Lora {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The tool whose names it has.
    pub dialect: Dialect,
    /// The model of its training, as far as its metadata say.
    pub base: Option<String>,
    weights: Weights,
    layers: Vec<Layer>,
}

/// The change of one module.
#[derive(Clone, Debug)]
struct Layer {
    /// The part that the name states.
    part: Option<Part>,
    /// The module, as the file spells it without its part.
    module: String,
    down: String,
    up: String,
    rank: usize,
    /// The numerator of the scale, if there is one.
    alpha: Option<f64>,
    /// The scale of the product, without the weight of the file.
    scale: f64,
}

/// The numbers of a LoRA file, for descriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The ranks of its changes.
    pub ranks: BTreeSet<usize>,
    /// The alphas of its changes, as text; those without one have the scale 1.
    pub alphas: BTreeSet<String>,
    /// The number of changed modules by part, with the convolutions among them.
    pub parts: BTreeMap<String, (usize, usize)>,
    /// The family of models that it fits, by its names and shapes.
    pub family: Option<&'static str>,
}

/// The tensors of one module, by their role.
#[derive(Default)]
struct Group {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

impl Lora {
    /// Opens a LoRA file, or a folder that PEFT saved.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] and its kin for a file that is not a LoRA, lacks a factor, or holds
    /// changes that are not a plain product.
    pub fn open(path: &Path) -> Result<Self> {
        let is_folder = path.is_dir();
        let path = if is_folder { path.join(OF_PEFT) } else { path.to_path_buf() };
        if is_folder && !path.exists() {
            let folder = path.parent().unwrap_or(&path);
            let what = format!("a folder without `{OF_PEFT}`");
            return Err(Error::bad_file_hint(folder, what, "name a LoRA file, or the folder of an adapter of PEFT"));
        }
        if !path.exists() {
            return Err(Error::FileNotFound { path });
        }
        let weights = Weights::open(&path)?;
        let metadata = header::metadata(&path, &Source::open(&path)?)?;
        let groups = groups(&path, weights.names())?;
        let Some((&(dialect, ..), _)) = groups.first_key_value() else {
            return Err(Error::bad_file_hint(&path, "not a LoRA: it holds no tensors", "name a LoRA file"));
        };
        let settings = AllSettings::read(&path, dialect, &metadata)?;
        let mut layers = Vec::with_capacity(groups.len());
        for ((_, part, module), group) in groups {
            layers.push(Layer::new(&weights, part, module, group, &settings)?);
        }
        let base = BASES.iter().find_map(|field| metadata.get(*field).filter(|text| !text.is_empty())).cloned();
        Ok(Self { sha256: sha256(&path)?, path, dialect, base, weights, layers })
    }

    /// Returns `true` if `path` is a safetensors file with names of a LoRA, or a folder that PEFT saved. The content is
    /// not checked.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        let of_peft = path.join(PEFT_CONFIG).is_file() && path.join(OF_PEFT).is_file();
        let has_factors = || Weights::open(path).is_ok_and(|weights| weights.names().any(is_factor));
        of_peft || path.is_file() && path.extension().is_some_and(|suffix| suffix == "safetensors") && has_factors()
    }

    /// The file without its folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// The size of the file's tensors in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// The numbers of the file.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut parts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for layer in &self.layers {
            let name = layer.part.map_or("unnamed part".to_owned(), |part| part.to_string());
            let count = parts.entry(name).or_default();
            count.0 += 1;
            let is_convolution = self.weights.shape(&layer.down).is_some_and(|shape| shape.len() == 4);
            count.1 += usize::from(is_convolution);
        }
        Summary {
            ranks: self.layers.iter().map(|layer| layer.rank).collect(),
            alphas: self.layers.iter().filter_map(|layer| Some(layer.alpha?.to_string())).collect(),
            parts,
            family: self.family(),
        }
    }

    /// The family of models that the changes fit.
    fn family(&self) -> Option<&'static str> {
        let has = |text: &str| self.layers.iter().any(|layer| layer.down.contains(text));
        if has("double_blocks") || has("single_blocks") || has("single_transformer_blocks") {
            return Some("Flux");
        }
        if has("joint_blocks") || has("add_k_proj") {
            return Some("Stable Diffusion 3");
        }
        if self.layers.iter().any(|layer| layer.part == Some(Part::TextEncoder2)) {
            return Some("SDXL");
        }
        // The width of the texts that cross-attention reads, or else that of the text encoder.
        let width = |layer: &Layer| self.weights.shape(&layer.down).and_then(|shape| shape.get(1).copied());
        let crosses = |layer: &&Layer| {
            let name = layer.module.replace('.', "_");
            name.ends_with("attn2_to_k") || name.ends_with("attn2_to_v") || name.ends_with("self_attn_q_proj")
        };
        let mut found = self.layers.iter().filter(crosses);
        let text = found.clone().find(|layer| layer.module.contains("attn2")).or(found.next())?;
        match width(text)? {
            768 => Some("Stable Diffusion 1.x"),
            1024 => Some("Stable Diffusion 2.x"),
            1280 => Some("the refiner of SDXL"),
            2048 => Some("SDXL"),
            _ => None,
        }
    }
}

/// Returns `true` for a name that only LoRA files have.
pub(super) fn is_factor(name: &str) -> bool {
    parse(name).is_some_and(|parsed| match parsed.role {
        Role::Down | Role::Up => true,
        Role::Other(what) => !what.starts_with("whole differences"),
        Role::Alpha => name.starts_with("lora_"),
    })
}

/// A module by the dialect and the part that its name states.
type Place = (Dialect, Option<Part>, String);

/// The tensors of a file by module.
fn groups<'n>(path: &Path, names: impl Iterator<Item = &'n str>) -> Result<BTreeMap<Place, Group>> {
    let mut groups: BTreeMap<Place, Group> = BTreeMap::new();
    for name in names {
        let Some(parsed) = parse(name) else {
            let what = format!("tensor `{}` is not one of a LoRA", excerpt(name));
            return Err(Error::bad_file_hint(path, what, "a LoRA holds two factors for each module that it changes"));
        };
        let group = groups.entry((parsed.dialect, parsed.part, parsed.module)).or_default();
        let place = match parsed.role {
            Role::Down => &mut group.down,
            Role::Up => &mut group.up,
            Role::Alpha => &mut group.alpha,
            Role::Other(method) => {
                let what = format!("tensor `{}` belongs to {method}, which is not supported", excerpt(name));
                let hint = "changes that are a product of two factors are supported; merge this file into its model \
                            with the tool that made it, and sample the merged model";
                return Err(Error::bad_file_hint(path, what, hint));
            }
        };
        if let Some(first) = place.replace(name.to_owned()) {
            let what = format!("tensors `{}` and `{}` are the same factor", excerpt(&first), excerpt(name));
            return Err(Error::bad_file(path, what));
        }
    }
    Ok(groups)
}

impl Layer {
    fn new(
        weights: &Weights,
        part: Option<Part>,
        module: String,
        group: Group,
        settings: &AllSettings,
    ) -> Result<Self> {
        let path = weights.path();
        let Group { down, up, alpha } = group;
        let (Some(down), Some(up)) = (down, up) else {
            let what = format!("the change of `{}` lacks one of its two factors", excerpt(&module));
            return Err(Error::bad_file_hint(
                path,
                what,
                "the file is damaged or incomplete; download or save it again",
            ));
        };
        let shape = |key: &str| weights.shape(key).unwrap_or_default().to_vec();
        let (down_shape, up_shape) = (shape(&down), shape(&up));
        let rank = down_shape.first().copied().unwrap_or(0);
        let is_sound = rank > 0 && down_shape.len() >= 2 && up_shape.len() >= 2 && up_shape[1] == rank;
        if !is_sound || up_shape[2..].iter().any(|extent| *extent != 1) {
            let what = format!(
                "`{}` of shape {down_shape:?} and `{}` of shape {up_shape:?} are not two factors of one change",
                excerpt(&down),
                excerpt(&up)
            );
            return Err(Error::bad_file_hint(
                path,
                what,
                "factors have shapes (rank, inputs, ...) and (outputs, rank)",
            ));
        }
        let stored = match &alpha {
            None => None,
            Some(key) => Some(alpha_of(weights, key)?),
        };
        let settings = settings.of(part);
        let alpha = stored.or_else(|| settings.alpha(&module));
        // An alpha in a tensor is that of kohya, whose scale is alpha / rank.
        let scale = match stored {
            Some(alpha) => alpha / rank as f64,
            None => settings.scale(alpha, rank),
        };
        Ok(Self { part, module, down, up, rank, alpha, scale })
    }
}

/// Reads an alpha: a tensor of one value.
fn alpha_of(weights: &Weights, key: &str) -> Result<f64> {
    let shape = weights.shape(key).unwrap_or_default().to_vec();
    if shape.iter().any(|extent| *extent != 1) {
        let (file, key) = (weights.path().to_path_buf(), key.to_owned());
        return Err(Error::WrongShape { file, key, found: shape, expected: Vec::new() });
    }
    Ok(f64::from(weights.fetch(key, &shape)?.data[0]))
}

/// The settings that are kept beside the factors, by part.
#[derive(Default)]
struct AllSettings {
    network: Settings,
    text: Settings,
    second_text: Settings,
}

impl AllSettings {
    fn read(path: &Path, dialect: Dialect, metadata: &BTreeMap<String, String>) -> Result<Self> {
        match dialect {
            Dialect::Kohya => Ok(Self::default()),
            Dialect::Peft => {
                let config = path.parent().unwrap_or(Path::new("")).join(PEFT_CONFIG);
                if !config.is_file() {
                    let what = "the names are those of PEFT, whose `adapter_config.json` is missing beside it";
                    return Err(Error::bad_file_hint(path, what, "it holds alpha; copy it beside the file"));
                }
                let config = ConfigFile::read(&config)?;
                let settings = Settings::read(&config.values, &config.path, "")?;
                Ok(Self { network: settings.clone(), text: settings.clone(), second_text: settings })
            }
            Dialect::Diffusers => {
                let Some(text) = metadata.get(SETTINGS) else { return Ok(Self::default()) };
                let wrong = |error: String| Error::bad_file(path, format!("its metadata `{SETTINGS}`: {error}"));
                let values = json::parse(text.as_bytes()).map_err(wrong)?;
                let of = |prefix: &str| Settings::read(&values, path, prefix);
                let network =
                    if values.keys().any(|name| name.starts_with("transformer.")) { "transformer." } else { "unet." };
                Ok(Self { network: of(network)?, text: of("text_encoder.")?, second_text: of("text_encoder_2.")? })
            }
        }
    }

    fn of(&self, part: Option<Part>) -> &Settings {
        match part {
            None | Some(Part::Network) => &self.network,
            Some(Part::TextEncoder) => &self.text,
            Some(Part::TextEncoder2) => &self.second_text,
        }
    }
}
