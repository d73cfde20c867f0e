//! From the name of a model to its configurations and weights.

use std::path::{Path, PathBuf};

use super::config::ConfigFile;
use super::container::refuse_other;
use super::hub::Environment;
use super::layouts::foreign;
use super::locate::{Located, locate};
use super::pickle;
use super::pipeline::{CONFIG, Component, Pipeline, read_config, read_scheduler};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::held;

/// The component of a pipeline that predicts the noise.
const NETWORK: &str = "unet";

/// The files of a denoising network: its configuration, its weights, and the noise schedule it was trained with.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The name it was opened by; `digits` for the embedded model.
    pub name: String,
    /// The network's `config.json`, which has a `_class_name`.
    pub config: ConfigFile,
    /// The `scheduler_config.json`, if there is one.
    pub scheduler: Option<ConfigFile>,
    /// The network's tensors.
    pub weights: Weights,
}

impl ModelFiles {
    /// Opens a model by its name.
    ///
    /// `None` is the embedded model of digits. Otherwise an existing path is used first: a diffusers folder (flat, or
    /// with `model_index.json` and sub-folders) or a `.safetensors` file beside its `config.json`. A name that is not a
    /// path and has the form `org/name[@revision]` is looked up in the local hub cache; nothing is ever downloaded.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] or [`Error::Argument`] if there is nothing of that name. Errors naming file, field or
    /// tensor if the model cannot be used.
    pub fn open(spec: Option<&str>) -> Result<Self> {
        Self::open_in(spec, &|name| std::env::var_os(name))
    }

    /// As [`ModelFiles::open`], with the environment variables of the hub cache read from `environment`.
    ///
    /// # Errors
    /// As [`ModelFiles::open`].
    pub fn open_in(spec: Option<&str>, environment: Environment) -> Result<Self> {
        let Some(spec) = spec else { return Self::embedded() };
        match locate(spec, environment)? {
            Located::Folder(folder) => Self::from_folder(spec, folder),
            Located::File(file) => match Pipeline::of_file(spec, &file, None)? {
                Some(pipeline) => Self::of_pipeline(spec, &pipeline),
                None => Self::from_file(spec, &file),
            },
        }
    }

    /// Opens the embedded model of digits: 28 x 28 handwritten digits in grey (see `weights/digits/README.md`).
    ///
    /// # Errors
    /// None in a build that passes its tests.
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

    fn from_folder(name: &str, root: PathBuf) -> Result<Self> {
        Self::of_pipeline(name, &Pipeline::at(name, root)?)
    }

    fn of_pipeline(name: &str, pipeline: &Pipeline) -> Result<Self> {
        let Component { config, weights, .. } = pipeline.component(NETWORK)?;
        Self::assemble(name, config, pipeline.scheduler()?, weights)
    }

    fn from_file(name: &str, file: &Path) -> Result<Self> {
        refuse_other(file)?;
        let is_safetensors = file.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("safetensors"));
        if !is_safetensors && !pickle::has_suffix(file) {
            return Err(Error::bad_file_hint(
                file,
                "not a model",
                "give a diffusers folder, or a `.safetensors`, `.ckpt`, `.pt` or `.bin` file beside its `config.json`",
            ));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let weights = Weights::open(file)?;
        if let Some((what, hint)) = foreign(weights.names()) {
            return Err(Error::bad_file_hint(file, what, hint));
        }
        if !held::exists(&folder.join(CONFIG)) {
            return Err(Error::bad_file_hint(
                file,
                "the network's configuration is missing: no `config.json` is beside the file, and its tensors are not \
                 those of a whole model of a known layout",
                "put the `config.json` of the network beside the file, or give the whole file of a model of Stable \
                 Diffusion, openai/guided-diffusion or ermongroup/ddim",
            ));
        }
        Self::assemble(name, read_config(folder)?, read_scheduler(folder)?, weights)
    }

    fn assemble(name: &str, config: ConfigFile, scheduler: Option<ConfigFile>, weights: Weights) -> Result<Self> {
        config.class_name()?;
        Ok(Self { name: name.to_owned(), config, scheduler, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_whole() {
        let model = ModelFiles::open(None).unwrap();
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
    fn names_of_closed_forms_are_not_folders() {
        for spec in ["pca:digits,k=3", "wiener:x.npy", "ideal:digits"] {
            let error = ModelFiles::open(Some(spec)).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::NotFound);
            assert!(error.to_string().contains(spec), "{error}");
        }
    }

    #[test]
    fn what_is_nowhere_is_not_found() {
        for spec in ["no-such-model", "./no/such/model", "no/such.safetensors", ""] {
            let error = ModelFiles::open_in(Some(spec), &|_| None).unwrap_err();
            assert!(matches!(error, Error::FileNotFound { .. }), "{spec}: {error:?}");
        }
    }
}
