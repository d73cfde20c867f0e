//! Single files in the layouts of other code bases: one layout per file of this folder, and their table.
//!
//! A layout recognises itself by the names and shapes of a file's tensors, never by the name of the file, and takes it
//! apart: for each component a configuration, in diffusers' fields or those of the architecture's own class, and a
//! table of names. Everything behind it then sees a [`Pipeline`](super::Pipeline), as from a diffusers folder. A layout
//! knows nothing of the container: [`Weights`] has the tensors of any.

mod adm;
mod adm_classifier;
mod adm_stated;
mod clip;
mod ddim;
mod foreign;
mod ldm_unet;
mod ldm_vae;
mod names;
mod settings;
mod stable_diffusion;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::ConfigFile;
use super::pipeline::SCHEDULER;
use super::weights::Weights;
use crate::error::Result;
pub use adm_classifier::ClassifierFile;
pub(super) use foreign::foreign;
pub(super) use names::Names;
pub(super) use settings::Settings;

/// More levels, layers or blocks than any network has.
const MOST: usize = 1000;

/// The layouts that are read, in the order in which they are tried.
static LAYOUTS: &[&Layout] = &[&stable_diffusion::LAYOUT, &adm::LAYOUT, &ddim::LAYOUT];

/// A layout of names in single files.
pub(super) struct Layout {
    /// The name of the layout, for messages: the code base that writes it.
    pub name: &'static str,
    /// Takes a file apart: `None` for a file of another layout.
    ///
    /// Errors are those of a file that is of this layout, and that cannot be used.
    pub open: fn(&Weights, &Settings) -> Result<Option<Parts>>,
}

/// The components in a single file, and what belongs to a pipeline besides.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// The family of the model, by the name that people know: "Stable Diffusion 1".
    pub family: String,
    /// The class that the pipeline would have in a `model_index.json`, or `None` for a network alone.
    pub class: Option<&'static str>,
    /// The components with tensors.
    pub components: Vec<Part>,
    /// The fields of `scheduler_config.json`, if the model has a scheduler.
    pub scheduler: Option<Map<String, Value>>,
    /// The tokenizers of CLIP that the model needs.
    pub tokenizers: Vec<ClipTokens>,
    /// Assumptions, and parts that were not used, in sentences for the user.
    pub notes: Vec<String>,
    /// The tensors that no component uses and that are known to be without effect, by their names.
    pub ignored: Vec<String>,
}

/// One network in a single file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The name that it has in a pipeline: `unet`, `vae`, `text_encoder`.
    pub name: &'static str,
    /// Its configuration, with the class in `_class_name`.
    pub config: Map<String, Value>,
    /// Its tensors.
    pub names: Names,
}

/// A tokenizer with CLIP's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClipTokens {
    /// The name of the component: `tokenizer`.
    pub component: &'static str,
    /// The token that fills a short text up.
    pub pad: &'static str,
}

/// A single file that has been taken apart.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    /// Stands for its `model_index.json`.
    pub index: Option<ConfigFile>,
    /// The components: name, configuration and tensors.
    pub components: Vec<(&'static str, (ConfigFile, Weights))>,
    pub scheduler: Option<ConfigFile>,
    pub tokenizers: Vec<ClipTokens>,
}

impl Opened {
    /// Returns `true` if the file holds the component, or the model needs that tokenizer.
    pub fn has(&self, component: &str) -> bool {
        let tokenizers = self.tokenizers.iter().map(|tokens| tokens.component);
        let scheduler = self.scheduler.as_ref().map(|_| SCHEDULER);
        self.components.iter().map(|(name, _)| *name).chain(tokenizers).chain(scheduler).any(|name| name == component)
    }
}

/// The origin of tensors that were taken out of a single file.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The layout of the file.
    pub layout: &'static str,
    /// The family of the model.
    pub family: String,
    /// Assumptions, and parts that were not used.
    pub notes: Vec<String>,
}

/// Takes the tensors of the single file `file` apart: `None` for one of no known layout. `prediction` is the quantity
/// that its network predicts, as diffusers' `prediction_type` names it, if the caller states it.
///
/// # Errors
/// Those of the settings beside the file and of its layout; [`UnexpectedKey`](crate::Error::UnexpectedKey) for a tensor
/// that no component uses; [`MissingKey`](crate::Error::MissingKey) and [`BadFile`](crate::Error::BadFile) for one that
/// cannot be taken out of the file.
pub(super) fn open(file: &Path, weights: &Weights, prediction: Option<&'static str>) -> Result<Option<Opened>> {
    open_by(LAYOUTS, file, weights, &Settings::beside(file, prediction)?)
}

fn open_by(layouts: &[&Layout], file: &Path, weights: &Weights, settings: &Settings) -> Result<Option<Opened>> {
    for layout in layouts {
        if let Some(parts) = (layout.open)(weights, settings)? {
            return assemble(layout, parts, file, weights).map(Some);
        }
    }
    Ok(None)
}

fn assemble(layout: &Layout, parts: Parts, file: &Path, weights: &Weights) -> Result<Opened> {
    let names = parts.components.iter().map(|part| &part.names);
    names::check_complete(weights, names, &parts.ignored)?;
    let Parts { family, class, components, scheduler, tokenizers, notes, .. } = parts;
    let config = |values| ConfigFile { path: file.to_path_buf(), values };
    let index = class.map(|class| config(Map::from_iter([("_class_name".to_owned(), class.into())])));
    let origin = Arc::new(Origin { layout: layout.name, family, notes });
    let components = components.into_iter().map(|part| {
        let weights = weights.taken_apart(part.names, origin.clone())?;
        Ok((part.name, (config(part.config), weights)))
    });
    let components = components.collect::<Result<_>>()?;
    Ok(Opened { index, components, scheduler: scheduler.map(config), tokenizers })
}
