//! A diffusers pipeline of several networks: `model_index.json`, and a sub-folder for each component.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::component::{TRANSFORMERS_STEM, open_weights};
use super::config::ConfigFile;
use super::hub::Environment;
use super::locate::{Located, locate};
use super::weights::Weights;
use crate::error::{Error, Result};

/// The configuration of a network, in its own folder.
pub(super) const CONFIG: &str = "config.json";
pub(super) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
const MODEL_INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler";
/// Components that transformers saved, under its own file names.
const OF_TRANSFORMERS: [&str; 1] = ["text_encoder"];

/// A folder with components, none of them opened yet.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What the user called it.
    pub name: String,
    root: PathBuf,
    /// Its `model_index.json`, where there is one.
    index: Option<ConfigFile>,
}

/// One network of a pipeline.
#[derive(Clone, Debug)]
pub struct Component {
    /// Where its files lie.
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
    /// [`Error::FileNotFound`] when nothing of that name is there, [`Error::BadFile`] for what is no folder or has a
    /// `model_index.json` that cannot be read.
    pub fn open(spec: &str) -> Result<Self> {
        Self::open_in(spec, &|name| std::env::var_os(name))
    }

    /// [`Pipeline::open`] with the environment variables that lead to the hub cache given by `environment`.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn open_in(spec: &str, environment: Environment) -> Result<Self> {
        match locate(spec, environment)? {
            Located::Folder(root) => Self::at(spec, root),
            Located::File(file) => Err(Error::bad_file_hint(
                file,
                "one file, where a folder with several networks is needed",
                "give the diffusers folder that holds model_index.json",
            )),
        }
    }

    /// The pipeline in the folder `root`, which the user calls `name`.
    pub(super) fn at(name: &str, root: PathBuf) -> Result<Self> {
        let index = root.join(MODEL_INDEX);
        let index = if index.is_file() { Some(ConfigFile::read(&index)?) } else { None };
        Ok(Self { name: name.to_owned(), root, index })
    }

    /// The class of the pipeline by its `model_index.json`; none without one.
    #[must_use]
    pub fn class_name(&self) -> Option<&str> {
        self.index.as_ref().and_then(|index| index.class_name().ok())
    }

    /// Whether there is a component of that name, by the index or, without one, by its sub-folder.
    #[must_use]
    pub fn has(&self, component: &str) -> bool {
        match &self.index {
            Some(index) => !is_absent(index.values.get(component)),
            None => self.root.join(component).is_dir(),
        }
    }

    /// The folder of a component: its own, or the root where it has none (a flat folder holds a single network).
    ///
    /// # Errors
    /// [`Error::BadFile`] when the index says that the pipeline has no such component, or names one whose folder is missing.
    pub fn folder(&self, component: &str) -> Result<PathBuf> {
        let own = self.root.join(component);
        let is_flat = self.root.join(CONFIG).is_file();
        match &self.index {
            Some(index) if is_absent(index.values.get(component)) => Err(Error::bad_file_hint(
                &index.path,
                format!("the pipeline `{}` has no component `{component}`", self.class_name().unwrap_or("unknown")),
                format!("supported: pipelines that have a `{component}`"),
            )),
            // Without an index a flat folder may have sub-folders of its own accord.
            None if is_flat => Ok(self.root.clone()),
            _ if own.is_dir() => Ok(own),
            Some(_) if is_flat => Ok(self.root.clone()),
            None => Err(Error::bad_file_hint(
                &self.root,
                format!("neither a network nor a pipeline with a component `{component}`"),
                "a network is a folder with config.json and its weights, a pipeline one with a sub-folder for each component",
            )),
            Some(_) => Err(Error::bad_file_hint(
                own,
                format!("the component `{component}` is not there"),
                "download or copy the whole folder, with a sub-folder for each component",
            )),
        }
    }

    /// Refuses a pipeline without a component, a folder of a single network among them.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming it.
    pub fn expect(&self, component: &str) -> Result<()> {
        match self.folder(component) {
            Ok(folder) if self.has(component) || folder != self.root => Ok(()),
            Ok(_) => Err(Error::bad_file_hint(
                &self.root,
                format!("a single network, without a component `{component}`"),
                "give the folder of the whole pipeline, which holds model_index.json",
            )),
            Err(error) => Err(error),
        }
    }

    /// The configuration of a component.
    ///
    /// # Errors
    /// As [`Pipeline::component`].
    pub fn config(&self, component: &str) -> Result<ConfigFile> {
        read_config(&self.folder(component)?)
    }

    /// Opens a component: its configuration, and the header of its weights.
    ///
    /// # Errors
    /// [`Error::BadFile`] (exit code 4) naming the file that is missing or malformed.
    pub fn component(&self, component: &str) -> Result<Component> {
        let folder = self.folder(component)?;
        let config = read_config(&folder)?;
        let transformers = OF_TRANSFORMERS.contains(&component);
        let weights = open_weights(&folder, transformers.then_some(TRANSFORMERS_STEM))?;
        Ok(Component { folder, config, weights })
    }

    /// The `scheduler_config.json`, where there is one.
    ///
    /// # Errors
    /// [`Error::BadFile`] when it cannot be read or names no class.
    pub fn scheduler(&self) -> Result<Option<ConfigFile>> {
        let own = self.root.join(SCHEDULER);
        let has_components = self.index.is_some() || !self.root.join(CONFIG).is_file();
        read_scheduler(if has_components && own.is_dir() { &own } else { &self.root })
    }
}

/// What `model_index.json` says of a component that is not there: nothing, null, or `[null, null]`.
fn is_absent(entry: Option<&Value>) -> bool {
    match entry {
        None | Some(Value::Null) => true,
        Some(Value::Array(parts)) => parts.iter().all(Value::is_null),
        Some(_) => false,
    }
}

/// The `config.json` in `folder`.
pub(super) fn read_config(folder: &Path) -> Result<ConfigFile> {
    let path = folder.join(CONFIG);
    if path.exists() {
        return ConfigFile::read(&path);
    }
    Err(Error::bad_file_hint(
        path,
        "the network's configuration is not there",
        "a model is a folder with config.json, scheduler_config.json and diffusion_pytorch_model.safetensors",
    ))
}

/// The `scheduler_config.json` in `folder`, where there is one.
pub(super) fn read_scheduler(folder: &Path) -> Result<Option<ConfigFile>> {
    let path = folder.join(SCHEDULER_CONFIG);
    if !path.exists() {
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
        assert!(error.to_string().contains("the component `unet` is not there"), "{error}");
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
