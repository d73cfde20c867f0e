//! From what the user typed as MODEL to configurations and weights.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::component::{is_pickle, open_weights, pickle_error};
use super::config::ConfigFile;
use super::hub::{self, Environment, HubId};
use super::weights::Weights;
use crate::error::{Error, Result};

const CONFIG: &str = "config.json";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";
const MODEL_INDEX: &str = "model_index.json";
/// The component of a pipeline that predicts noise, and that of its schedule.
const NETWORK: &str = "unet";
const SCHEDULER: &str = "scheduler";

/// The files of a denoising network: its configuration, its weights, and the noise schedule it was trained with.
#[derive(Debug)]
pub struct Model {
    /// What the user called it; `digits` for the embedded model.
    pub name: String,
    /// The network's `config.json`; its `_class_name` is there.
    pub config: ConfigFile,
    /// The `scheduler_config.json`, where there is one.
    pub scheduler: Option<ConfigFile>,
    /// The network's tensors.
    pub weights: Weights,
}

impl Model {
    /// Opens what the command line calls MODEL.
    ///
    /// `None` is the embedded digits model. Otherwise an existing path wins: a diffusers folder (flat, or with
    /// `model_index.json` and sub-folders) or a `.safetensors` file beside its `config.json`. What is no path and has
    /// the shape `org/name[@revision]` is looked up in the local hub cache; nothing is ever downloaded.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] or [`Error::Usage`] (exit code 2) when nothing of that name is there; errors of exit
    /// code 4 naming file, field or tensor when what is there cannot be used.
    pub fn open(spec: Option<&str>) -> Result<Self> {
        Self::open_in(spec, &|name| std::env::var_os(name))
    }

    /// [`Model::open`] with the environment variables that lead to the hub cache given by `environment`.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_in(spec: Option<&str>, environment: Environment) -> Result<Self> {
        let Some(spec) = spec else { return Self::embedded() };
        refuse_closed_form(spec)?;
        let path = Path::new(spec);
        if path.is_dir() {
            Self::from_folder(spec, path)
        } else if path.exists() {
            Self::from_file(spec, path)
        } else if let Some(id) = HubId::parse(spec) {
            Self::from_folder(spec, &hub::snapshot(&id, environment)?)
        } else {
            Err(Error::FileNotFound { path: path.to_path_buf() })
        }
    }

    /// The digits model that is compiled in: 28x28 grey handwritten digits (see `weights/digits/README.md`).
    ///
    /// # Errors
    /// None that a build which passes its tests can meet.
    pub fn embedded() -> Result<Self> {
        let config =
            ConfigFile::parse("(embedded digits)/config.json", include_bytes!("../../weights/digits/config.json"))?;
        let scheduler = ConfigFile::parse(
            "(embedded digits)/scheduler_config.json",
            include_bytes!("../../weights/digits/scheduler_config.json"),
        )?;
        let weights = Weights::from_bytes(
            "(embedded digits)/diffusion_pytorch_model.safetensors",
            include_bytes!("../../weights/digits/diffusion_pytorch_model.safetensors").as_slice(),
        )?;
        Self::assemble("digits", config, Some(scheduler), weights)
    }

    fn from_folder(name: &str, root: &Path) -> Result<Self> {
        let index = root.join(MODEL_INDEX);
        let has_index = index.is_file();
        if has_index {
            check_has_network(&ConfigFile::read(&index)?)?;
        }
        // A flat folder may have sub-folders of its own accord; without an index they count only when it is not flat.
        let has_components = has_index || !root.join(CONFIG).is_file();
        let component = |folder: &str| {
            let sub_folder = root.join(folder);
            if has_components && sub_folder.is_dir() { sub_folder } else { root.to_path_buf() }
        };
        let network = component(NETWORK);
        let config = read_config(&network)?;
        let scheduler = read_scheduler(&component(SCHEDULER))?;
        Self::assemble(name, config, scheduler, open_weights(&network)?)
    }

    fn from_file(name: &str, file: &Path) -> Result<Self> {
        if is_pickle(file) {
            return Err(pickle_error(file));
        }
        if !file.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("safetensors")) {
            return Err(Error::bad_file_hint(
                file,
                "not a model",
                "give a diffusers folder, or a `.safetensors` file beside its `config.json`",
            ));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let config = read_config(folder)?;
        Self::assemble(name, config, read_scheduler(folder)?, Weights::open(file)?)
    }

    fn assemble(name: &str, config: ConfigFile, scheduler: Option<ConfigFile>, weights: Weights) -> Result<Self> {
        config.class_name()?;
        if let Some(scheduler) = &scheduler {
            scheduler.class_name()?;
        }
        Ok(Self { name: name.to_owned(), config, scheduler, weights })
    }
}

/// Closed-form denoisers are named like models, but have no files to open.
fn refuse_closed_form(spec: &str) -> Result<()> {
    match spec.split_once(':') {
        Some((kind @ ("pca" | "wiener" | "ideal"), _)) => Err(Error::usage(
            format!("`{spec}`: a closed-form denoiser (`{kind}:`) is not supported by this command"),
            "give a network: a diffusers folder, a `.safetensors` file or a hub id",
        )),
        _ => Ok(()),
    }
}

/// A pipeline without the component that predicts noise cannot be sampled from here.
fn check_has_network(index: &ConfigFile) -> Result<()> {
    let is_absent = match index.values.get(NETWORK) {
        None | Some(Value::Null) => true,
        Some(Value::Array(parts)) => parts.iter().all(Value::is_null),
        Some(_) => false,
    };
    if !is_absent {
        return Ok(());
    }
    let class = index.class_name().unwrap_or("unknown");
    Err(Error::bad_file_hint(
        &index.path,
        format!("the pipeline `{class}` has no component `{NETWORK}`"),
        format!("supported: pipelines whose network is a `{NETWORK}`"),
    ))
}

fn read_config(folder: &Path) -> Result<ConfigFile> {
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

fn read_scheduler(folder: &Path) -> Result<Option<ConfigFile>> {
    let path: PathBuf = folder.join(SCHEDULER_CONFIG);
    if path.exists() { ConfigFile::read(&path).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_whole() {
        let model = Model::open(None).unwrap();
        assert_eq!(model.name, "digits");
        assert_eq!(model.config.expect_class(&["UNet2DModel"]).unwrap(), "UNet2DModel");
        assert!(model.scheduler.is_some());
        let keys: Vec<String> = model.weights.names().map(str::to_owned).collect();
        for key in &keys {
            let shape = model.weights.shape(key).unwrap().to_vec();
            assert_eq!(model.weights.fetch(key, &shape).unwrap().shape, shape);
        }
        model.weights.check_complete(&keys).unwrap();
        assert_eq!(model.weights.parameters() * 2, model.weights.bytes(), "float16");
    }

    #[test]
    fn closed_forms_are_refused_as_usage() {
        for spec in ["pca:digits,k=3", "wiener:x.npy", "ideal:digits"] {
            let error = Model::open(Some(spec)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(spec), "{error}");
        }
    }

    #[test]
    fn what_is_nowhere_is_not_found() {
        for spec in ["no-such-model", "./no/such/model", "no/such.safetensors", ""] {
            let error = Model::open_in(Some(spec), &|_| None).unwrap_err();
            assert!(matches!(error, Error::FileNotFound { .. }), "{spec}: {error:?}");
        }
    }
}
