//! From the modules that a LoRA names to the tensors of a model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::names::{Dialect, Part, original, original_upsampler};
use super::{Change, Layer, Lora};
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result, excerpt};

/// Names that a message lists, of those without a place.
const LISTED: usize = 3;
/// Modules whose tensors are tables, which are read by rows.
const TABLES: [&str; 2] = ["embeddings.token_embedding", "embeddings.position_embedding"];

/// A file that was merged into the weights of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The file.
    pub path: PathBuf,
    /// The weight of its changes.
    pub weight: f64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The number of changed modules by part.
    pub modules: BTreeMap<Part, usize>,
}

impl fmt::Display for Merged {
    /// The file and its weight: `style.safetensors:0.8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file_name(), self.weight)
    }
}

impl Merged {
    /// The file without its folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// A sentence for the user: the file, its weight, and what it changes.
    #[must_use]
    pub fn note(&self) -> String {
        let parts: Vec<_> = self.modules.iter().map(|(part, count)| format!("{count} layers of `{part}`")).collect();
        format!("LoRA `{}` with weight {}: {}", excerpt(&self.file_name()), self.weight, parts.join(", "))
    }
}

impl Lora {
    /// Adds the changes, times `weight`, to the weights of a model's parts. `model` is its name, for messages.
    ///
    /// # Errors
    /// [`Error::BadFile`] for changes of modules that the model does not have, or of other shapes, with the family of
    /// models that the file fits; [`Error::Argument`] for a weight that is not finite.
    pub fn merge(&self, weight: f64, parts: &mut [(Part, &mut Weights)], model: &str) -> Result<Merged> {
        if !weight.is_finite() {
            return Err(Error::argument(format!("a weight of {weight} for a LoRA"), "1 takes it as it was trained"));
        }
        let tables: Vec<BTreeMap<String, String>> =
            parts.iter().map(|(part, weights)| modules(*part, weights, self.dialect)).collect();
        let find = |layer: &Layer| {
            let fits = |at: &usize| layer.part.is_none_or(|part| part == parts[*at].0);
            (0..parts.len()).filter(fits).find_map(|at| Some((at, tables[at].get(&layer.module)?)))
        };
        let placed: Vec<_> = self.layers.iter().map(|layer| (layer, find(layer))).collect();
        let lost: Vec<&Layer> = placed.iter().filter(|(_, place)| place.is_none()).map(|(layer, _)| *layer).collect();
        if let Some(error) = self.lost(&lost, model) {
            return Err(error);
        }
        let mut merged = Merged {
            path: self.path.clone(),
            weight,
            sha256: self.sha256.clone(),
            modules: parts.iter().map(|(part, _)| (*part, 0)).collect(),
        };
        let mut changes: Vec<Vec<(String, Change)>> = vec![Vec::new(); parts.len()];
        for (layer, place) in placed {
            let Some((at, module)) = place else { continue };
            let key = format!("{module}.weight");
            self.expect_shape(layer, &key, parts[at].1, model)?;
            let (factors, down, up) = (self.weights.clone(), layer.down.clone(), layer.up.clone());
            changes[at].push((key, Change { factors, down, up, scale: weight * layer.scale }));
            *merged.modules.entry(parts[at].0).or_default() += 1;
        }
        for ((_, weights), changes) in parts.iter_mut().zip(changes) {
            **weights = weights.with_changes(changes);
        }
        merged.modules.retain(|_, count| *count > 0);
        Ok(merged)
    }

    /// The error for changes without a place in a model, if there are any.
    fn lost(&self, lost: &[&Layer], model: &str) -> Option<Error> {
        if lost.is_empty() {
            return None;
        }
        let listed: Vec<_> = lost.iter().take(LISTED).map(|layer| format!("`{}`", excerpt(&layer.down))).collect();
        let more = if lost.len() > LISTED { ", ..." } else { "" };
        let (some, all) = (lost.len(), self.layers.len());
        let what = format!("{some} of its {all} changes have no place in `{model}`: {}{more}", listed.join(", "));
        Some(Error::bad_file_hint(&self.path, what, self.advice()))
    }

    /// Returns a sentence that names the models that the file is for.
    fn advice(&self) -> String {
        let base = self.base.as_ref().map(|base| format!(" (its metadata say `{}`)", excerpt(base)));
        let base = base.unwrap_or_default();
        match self.family() {
            Some(family) => format!("it is a LoRA for {family}{base}; take a model of that family"),
            None => format!("take the model that it was trained on{base}"),
        }
    }

    /// Refuses factors that do not make the shape of a tensor.
    fn expect_shape(&self, layer: &Layer, key: &str, weights: &Weights, model: &str) -> Result<()> {
        let shape = |weights: &Weights, key: &str| weights.shape(key).unwrap_or_default().to_vec();
        let (whole, down, up) =
            (shape(weights, key), shape(&self.weights, &layer.down), shape(&self.weights, &layer.up));
        if plain(&down[1..]) == plain(&whole[1..]) && up[0] == whole[0] {
            return Ok(());
        }
        let what = format!(
            "`{}` of shape {down:?} and `{}` of shape {up:?} do not make the shape {whole:?} of `{}` in `{model}`",
            excerpt(&layer.down),
            excerpt(&layer.up),
            excerpt(key)
        );
        Err(Error::bad_file_hint(&self.path, what, self.advice()))
    }
}

/// A shape without the extents of 1 behind the first: a 1x1 kernel is a matrix.
fn plain(shape: &[usize]) -> &[usize] {
    let kept = shape.iter().rposition(|extent| *extent != 1).map_or(1, |last| last + 1);
    &shape[..kept.min(shape.len())]
}

/// The modules of a part that a LoRA can change, by every name that files of this dialect give them.
fn modules(part: Part, weights: &Weights, dialect: Dialect) -> BTreeMap<String, String> {
    let changeable = |name: &str| {
        let module = name.strip_suffix(".weight")?;
        let is_table = TABLES.iter().any(|table| module.ends_with(table));
        let dimensions = weights.shape(name)?.len();
        ((dimensions == 2 || dimensions == 4) && !is_table).then(|| module.to_owned())
    };
    let own: Vec<String> = weights.names().filter_map(changeable).collect();
    let layers = layers_per_level(&own);
    let mut names = BTreeMap::new();
    for module in &own {
        let others = match part {
            Part::Network => original_name(module, layers, &own),
            Part::TextEncoder | Part::TextEncoder2 => Some(match module.strip_prefix("text_model.") {
                Some(rest) => rest.to_owned(),
                None => format!("text_model.{module}"),
            }),
        };
        for name in others.into_iter().chain([module.clone()]) {
            let name = if dialect == Dialect::Kohya { name.replace('.', "_") } else { name };
            names.insert(name, module.clone());
        }
    }
    names
}

/// The name of a module of the network in the layout of the original authors.
fn original_name(module: &str, layers: usize, all: &[String]) -> Option<String> {
    let upsampler = module.strip_prefix("up_blocks.").and_then(|rest| rest.strip_suffix(".upsamplers.0.conv"));
    match upsampler {
        Some(level) => {
            let attention = format!("up_blocks.{level}.attentions.");
            let has_attention = all.iter().any(|module| module.starts_with(&attention));
            original_upsampler(level.parse().ok()?, layers, has_attention)
        }
        None => original(module, layers),
    }
}

/// The residual blocks per level of a U-Net on its way down.
fn layers_per_level(modules: &[String]) -> usize {
    let block = |module: &String| {
        let rest = module.strip_prefix("down_blocks.0.resnets.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    modules.iter().filter_map(block).max().map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_one_pixel_are_matrices() {
        assert_eq!(plain(&[4, 1, 1]), plain(&[4]));
        assert_eq!(plain(&[1, 1, 1]), [1]);
        assert_ne!(plain(&[4, 3, 3]), plain(&[4]));
        assert_eq!(plain(&[4, 1, 3]), [4, 1, 3]);
    }
}
