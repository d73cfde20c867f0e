//! A pipeline of several networks: `model_index.json` and a sub-folder per component, or a single file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::component::{TRANSFORMERS_STEM, open_weights};
use super::config::ConfigFile;
use super::hub::Environment;
use super::layouts::{self, Opened};
use super::locate::{Located, locate};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::held;

/// The file name of a network's configuration.
pub(super) const CONFIG: &str = "config.json";
pub(super) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
pub(super) const MODEL_INDEX: &str = "model_index.json";
pub(super) const SCHEDULER: &str = "scheduler";
/// The components saved by transformers, under its own file names.
const OF_TRANSFORMERS: [&str; 2] = ["text_encoder", "text_encoder_2"];

/// A folder of components, none of which is open yet, or a single file that holds components.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The name it was opened by.
    pub name: String,
    /// The folder, or that of the single file.
    root: PathBuf,
    /// Its `model_index.json`, or what stands for it, if there is one.
    index: Option<ConfigFile>,
    /// The components of a single file.
    file: Option<SingleFile>,
}

/// A single file and its components.
#[derive(Clone, Debug)]
struct SingleFile {
    path: PathBuf,
    opened: Opened,
}

/// The place of a tokenizer.
#[derive(Clone, Debug)]
pub enum TokenizerFiles {
    /// A folder with the files of transformers.
    Folder(PathBuf),
    /// CLIP's tokenizer, for a single file.
    Clip {
        /// A folder beside the single file with the files of transformers, which win over the embedded vocabulary.
        beside: Option<PathBuf>,
        /// The token that fills a short text up.
        pad: &'static str,
    },
}

/// One network of a pipeline.
#[derive(Clone, Debug)]
pub struct Component {
    /// The folder of its files.
    pub folder: PathBuf,
    /// Its `config.json`.
    pub config: ConfigFile,
    /// Its tensors.
    pub weights: Weights,
}

impl Pipeline {
    /// Opens the folder that `spec` names: a path, or a hub id `org/name[@revision]` in the local cache.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] if there is nothing of that name, [`Error::BadFile`] if it is not a folder or has a
    /// `model_index.json` that cannot be read.
    pub fn open(spec: &str) -> Result<Self> {
        Self::open_in(spec, &|name| std::env::var_os(name))
    }

    /// As [`Pipeline::open`], with the environment variables of the hub cache read from `environment`.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn open_in(spec: &str, environment: Environment) -> Result<Self> {
        match locate(spec, environment)? {
            Located::Folder(root) => Self::at(spec, root),
            Located::File(file) => Self::of_file(spec, &file, None)?.ok_or_else(|| {
                let (what, hint) = match Weights::open(&file).map(|weights| layouts::foreign(weights.names())) {
                    Err(unreadable) => return unreadable,
                    Ok(Some(known)) => known,
                    Ok(None) => (
                        "a single file of one network; several networks are needed",
                        "name the diffusers folder that holds model_index.json, or a single file with all of them",
                    ),
                };
                Error::bad_file_hint(file, what, hint)
            }),
        }
    }

    /// The components of a single file; `None` for a file of no known layout.
    ///
    /// A file that cannot be read is none of a known layout: who opens it as a network reports the fault.
    pub(super) fn of_file(name: &str, file: &Path, prediction: Option<&'static str>) -> Result<Option<Self>> {
        let Ok(weights) = Weights::open(file) else { return Ok(None) };
        let Some(opened) = layouts::open(file, &weights, prediction)? else { return Ok(None) };
        let index = opened.index.clone();
        let root = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let file = Some(SingleFile { path: file.to_path_buf(), opened });
        Ok(Some(Self { name: name.to_owned(), root, index, file }))
    }

    /// The pipeline in the folder `root`, called `name`.
    pub(super) fn at(name: &str, root: PathBuf) -> Result<Self> {
        let index = root.join(MODEL_INDEX);
        let index = if held::is_file(&index) { Some(ConfigFile::read(&index)?) } else { None };
        Ok(Self { name: name.to_owned(), root, index, file: None })
    }

    /// Opens what `spec` names if it is a folder, or a single file of a known layout; `None` for another file.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn find(spec: &str) -> Result<Option<Self>> {
        Self::find_predicting(spec, None)
    }

    /// As [`Pipeline::find`]. `prediction` is the `prediction_type` of a single file, if it is known better than the
    /// file tells; a folder has it in its scheduler.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn find_predicting(spec: &str, prediction: Option<&'static str>) -> Result<Option<Self>> {
        match locate(spec, &|name| std::env::var_os(name))? {
            Located::Folder(root) => Self::at(spec, root).map(Some),
            Located::File(file) => Self::of_file(spec, &file, prediction),
        }
    }

    /// Its `model_index.json`, if there is one.
    #[must_use]
    pub fn index(&self) -> Option<&ConfigFile> {
        self.index.as_ref()
    }

    /// The class of the pipeline in its `model_index.json`, or `None` without one.
    #[must_use]
    pub fn class_name(&self) -> Option<&str> {
        self.index.as_ref().and_then(|index| index.class_name().ok())
    }

    /// Returns `true` if there is a component of that name, according to the index or, without one, its sub-folder.
    #[must_use]
    pub fn has(&self, component: &str) -> bool {
        match (&self.file, &self.index) {
            (Some(SingleFile { opened, .. }), _) => opened.has(component),
            (None, Some(index)) => !is_absent(index.values.get(component)),
            (None, None) => held::is_dir(&self.root.join(component)),
        }
    }

    /// Returns the folder of a component: its own, or the root if it has none (a flat folder holds a single network).
    /// The components of a single file have none.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the index does not list the component, or lists it and its folder is missing.
    pub fn folder(&self, component: &str) -> Result<PathBuf> {
        if let Some(file) = &self.file {
            let what = format!("a single file, in which the component `{component}` has no folder");
            return Err(Error::bad_file_hint(&file.path, what, "name a diffusers folder"));
        }
        let own = self.root.join(component);
        let is_flat = held::is_file(&self.root.join(CONFIG));
        match &self.index {
            Some(index) if is_absent(index.values.get(component)) => Err(Error::bad_file_hint(
                &index.path,
                format!("the pipeline `{}` has no component `{component}`", self.class_name().unwrap_or("unknown")),
                format!("supported: pipelines that have a `{component}`"),
            )),
            // Without an index, a flat folder may have unrelated sub-folders.
            None if is_flat => Ok(self.root.clone()),
            _ if held::is_dir(&own) => Ok(own),
            Some(_) if is_flat => Ok(self.root.clone()),
            None => Err(Error::bad_file_hint(
                &self.root,
                format!("neither a network nor a pipeline with a component `{component}`"),
                "a network is a folder with config.json and weights, a pipeline has a sub-folder per component",
            )),
            Some(_) => Err(Error::bad_file_hint(
                own,
                format!("the component `{component}` is missing"),
                "download or copy the whole folder, with a sub-folder for each component",
            )),
        }
    }

    /// Checks that the pipeline has a component. A folder of a single network does not.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming it.
    pub fn expect(&self, component: &str) -> Result<()> {
        if let Some(file) = &self.file {
            return if file.opened.has(component) { Ok(()) } else { Err(file.lacks(component)) };
        }
        match self.folder(component) {
            Ok(folder) if self.has(component) || folder != self.root => Ok(()),
            Ok(_) => Err(Error::bad_file_hint(
                &self.root,
                format!("a single network, without a component `{component}`"),
                "name the folder of the whole pipeline, which holds model_index.json",
            )),
            Err(error) => Err(error),
        }
    }

    /// The components of a single file, by name; none of a folder.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, Component)> {
        let components = self.file.iter().flat_map(|file| file.opened.components.iter());
        let part = |(name, (config, weights)): &(&'static str, (ConfigFile, Weights))| {
            (*name, Component { folder: self.root.clone(), config: config.clone(), weights: weights.clone() })
        };
        components.map(part).collect()
    }

    /// Reads the configuration of a component.
    ///
    /// # Errors
    /// As [`Pipeline::component`].
    pub fn config(&self, component: &str) -> Result<ConfigFile> {
        match &self.file {
            Some(file) => file.component(component).map(|(config, _)| config.clone()),
            None => read_config(&self.folder(component)?),
        }
    }

    /// Opens a component: its configuration, and the header of its weights.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming the file that is missing or malformed.
    pub fn component(&self, component: &str) -> Result<Component> {
        if let Some(file) = &self.file {
            let (config, weights) = file.component(component)?.clone();
            return Ok(Component { folder: self.root.clone(), config, weights });
        }
        let folder = self.folder(component)?;
        let config = read_config(&folder)?;
        let transformers = OF_TRANSFORMERS.contains(&component);
        let weights = open_weights(&folder, transformers.then_some(TRANSFORMERS_STEM))?;
        Ok(Component { folder, config, weights })
    }

    /// Returns the place of a tokenizer, the component of that name.
    ///
    /// # Errors
    /// [`Error::BadFile`] for a pipeline without it.
    pub fn tokenizer(&self, component: &str) -> Result<TokenizerFiles> {
        let Some(file) = &self.file else { return self.folder(component).map(TokenizerFiles::Folder) };
        match file.opened.tokenizers.iter().find(|tokens| tokens.component == component) {
            Some(tokens) => {
                let beside = self.root.join(component);
                Ok(TokenizerFiles::Clip { beside: beside.is_dir().then_some(beside), pad: tokens.pad })
            }
            None => Err(file.lacks(component)),
        }
    }

    /// Reads the `scheduler_config.json`, if there is one.
    ///
    /// # Errors
    /// [`Error::BadFile`] if it cannot be read or has no class, and if it is missing although the index lists a
    /// scheduler: the noise levels of the network's training would be unknown.
    pub fn scheduler(&self) -> Result<Option<ConfigFile>> {
        if let Some(file) = &self.file {
            return Ok(file.opened.scheduler.clone());
        }
        let own = self.root.join(SCHEDULER);
        let has_components = self.index.is_some() || !held::is_file(&self.root.join(CONFIG));
        let found = read_scheduler(if has_components && held::is_dir(&own) { &own } else { &self.root })?;
        if found.is_none() && self.index.is_some() && self.has(SCHEDULER) {
            return Err(Error::bad_file_hint(
                own.join(SCHEDULER_CONFIG),
                format!("the model needs this file, which is missing: `{MODEL_INDEX}` lists a `{SCHEDULER}`"),
                "download or copy the whole folder, with a sub-folder for each component",
            ));
        }
        Ok(found)
    }
}

impl SingleFile {
    /// The configuration and the tensors of a component.
    fn component(&self, component: &str) -> Result<&(ConfigFile, Weights)> {
        let parts = &self.opened.components;
        parts.iter().find(|(name, _)| *name == component).map(|(_, part)| part).ok_or_else(|| self.lacks(component))
    }

    /// The error for a file without a component.
    fn lacks(&self, component: &str) -> Error {
        let parts: Vec<_> = self.opened.components.iter().map(|(name, _)| format!("`{name}`")).collect();
        Error::bad_file_hint(
            &self.path,
            format!("the file holds {}, and no component `{component}`", parts.join(", ")),
            "give a file or a diffusers folder of the whole pipeline",
        )
    }
}

/// Returns `true` for the entry of an absent component in `model_index.json`: none, null, or `[null, null]`.
fn is_absent(entry: Option<&Value>) -> bool {
    match entry {
        None | Some(Value::Null) => true,
        Some(Value::Array(parts)) => parts.iter().all(Value::is_null),
        Some(_) => false,
    }
}

/// Reads the `config.json` in `folder`.
pub(super) fn read_config(folder: &Path) -> Result<ConfigFile> {
    let path = folder.join(CONFIG);
    if held::exists(&path) {
        return ConfigFile::read(&path);
    }
    Err(Error::bad_file_hint(
        path,
        "the network's configuration is missing",
        "a model is a folder with config.json, scheduler_config.json and diffusion_pytorch_model.safetensors",
    ))
}

/// Reads the `scheduler_config.json` in `folder`, if there is one.
pub(super) fn read_scheduler(folder: &Path) -> Result<Option<ConfigFile>> {
    let path = folder.join(SCHEDULER_CONFIG);
    if !held::exists(&path) {
        return Ok(None);
    }
    let scheduler = ConfigFile::read(&path)?;
    scheduler.class_name()?;
    Ok(Some(scheduler))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        folder
    }

    fn open(folder: &tempfile::TempDir) -> Pipeline {
        Pipeline::open(folder.path().to_str().unwrap()).unwrap()
    }

    const INDEX: &str = r#"{"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [null, null]}"#;

    #[test]
    fn components_lie_in_folders_of_their_own() {
        let with_index = folder(&[("model_index.json", INDEX), ("vae/config.json", "{}"), ("other/x", "")]);
        let pipeline = open(&with_index);
        assert_eq!(pipeline.class_name(), Some("StableDiffusionPipeline"));
        assert_eq!(pipeline.folder("vae").unwrap(), with_index.path().join("vae"));
        assert!(pipeline.has("vae") && pipeline.has("unet"));
        assert!(!pipeline.has("safety_checker") && !pipeline.has("other"));
        let message = pipeline.folder("safety_checker").unwrap_err().to_string();
        assert!(message.contains("`StableDiffusionPipeline` has no component `safety_checker`"), "{message}");
        let error = pipeline.component("unet").unwrap_err();
        assert!(error.to_string().contains("the component `unet` is missing"), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::File);
        let error = pipeline.component("vae").unwrap_err();
        assert!(error.to_string().contains("no weights"), "{error}");
    }

    #[test]
    fn a_flat_folder_is_its_only_component() {
        let flat = folder(&[("config.json", "{}"), ("vae/notes", "")]);
        assert_eq!(open(&flat).folder("vae").unwrap(), flat.path());
        let loose = folder(&[("vae/config.json", "{}")]);
        assert_eq!(open(&loose).folder("vae").unwrap(), loose.path().join("vae"));
        assert!(open(&loose).folder("unet").is_err());
        open(&loose).expect("vae").unwrap();
        let message = open(&flat).expect("text_encoder").unwrap_err().to_string();
        assert!(message.contains("a single network, without a component `text_encoder`"), "{message}");
    }

    #[test]
    fn transformers_has_its_own_file_names() {
        let header = |name: &str| {
            let json = format!(r#"{{"{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}}}"#);
            let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
            bytes.extend(json.as_bytes());
            bytes
        };
        let root = folder(&[("text_encoder/config.json", "{}"), ("vae/config.json", "{}")]);
        for (component, file) in [("text_encoder", "model.fp16.safetensors"), ("vae", "model.safetensors")] {
            std::fs::write(root.path().join(component).join(file), header("a")).unwrap();
        }
        let encoder = open(&root).component("text_encoder").unwrap();
        assert_eq!(encoder.weights.names().collect::<Vec<_>>(), ["a"]);
        assert!(open(&root).component("vae").is_err());
    }
}
