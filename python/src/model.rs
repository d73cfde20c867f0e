//! Models: opening them, and their facts.

use std::sync::Mutex;

use downhill::denoise::diffusion::PredictionType;
use downhill::model::describe::model_json;
use downhill::model::{Kind, NetworkModel, Session, Source};
use downhill::sample::settings::Settings;
use downhill::{CompileOptions, Compiler, Error, Model, Precision};
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::call::Calls;
use crate::engine::{PyEngine, expect_own_process};
use crate::error::{Result, argument};
use crate::sampler::PySchedule;

/// A model and the device that it runs on.
#[pyclass(frozen, name = "Model")]
pub struct PyModel {
    pub model: Model,
    pub compiler: Compiler<'static>,
    /// The parts that runs of the model leave on the device.
    pub session: Mutex<Option<Session<'static>>>,
    /// The network or the closed form on the device, for single calls.
    pub calls: Calls,
}

impl PyModel {
    /// A model that runs on the device of `compiler`.
    pub fn new(model: Model, compiler: Compiler<'static>) -> Self {
        Self { model, compiler, session: Mutex::new(None), calls: Calls::default() }
    }

    /// The compiler, in the process that opened its device.
    pub fn compiler(&self) -> std::result::Result<Compiler<'static>, Error> {
        expect_own_process()?;
        Ok(self.compiler)
    }

    /// The network, for what closed forms do not have.
    pub fn network(&self) -> Result<&NetworkModel> {
        Ok(self.model.expect_network()?)
    }

    /// The same device with another model.
    fn with(&self, model: Model) -> Self {
        Self::new(model, self.compiler)
    }
}

#[pymethods]
impl PyModel {
    /// Opens a model by its name, or the embedded one.
    #[staticmethod]
    #[pyo3(signature = (engine, name=None, dtype="f32", exact=false, prediction=None))]
    fn open(
        py: Python<'_>,
        engine: &PyEngine,
        name: Option<&str>,
        dtype: &str,
        exact: bool,
        prediction: Option<&str>,
    ) -> Result<Self> {
        let (weights, maps) = match dtype {
            "f32" | "float32" => (Precision::Float32, Precision::Float32),
            "f16" | "float16" => (Precision::Float16, Precision::Float32),
            "f16-maps" => (Precision::Float16, Precision::Float16),
            other => return Err(argument(format!("`dtype` of `{other}`"), "give `f32`, `f16` or `f16-maps`")),
        };
        let prediction = prediction.map(predicted).transpose()?;
        let model = py.detach(|| match prediction {
            None => Model::open_or_embedded(name),
            Some(prediction) => Model::open_predicting(name, prediction),
        })?;
        if weights != Precision::Float32 && model.network().is_none() {
            let what = format!("`dtype` has no meaning for `{}`, which has no weights", model.name());
            return Err(argument(what, "omit `dtype`"));
        }
        let options = CompileOptions { weights, maps, ..CompileOptions::default() };
        let options = if exact { CompileOptions { weights, maps, ..CompileOptions::exact() } } else { options };
        Ok(Self::new(model, Compiler::new(engine.get()?, options)))
    }

    /// The model with a LoRA file merged into its weights.
    fn lora(&self, py: Python<'_>, file: &str, weight: f64) -> Result<Self> {
        Ok(self.with(py.detach(|| self.model.clone().lora(file, weight))?))
    }

    /// The model with a learned token.
    #[pyo3(signature = (file, token=None))]
    fn embedding(&self, py: Python<'_>, file: &str, token: Option<&str>) -> Result<Self> {
        Ok(self.with(py.detach(|| self.model.clone().embedding(file, token))?))
    }

    /// The model with another autoencoder.
    fn autoencoder(&self, py: Python<'_>, name: &str) -> Result<Self> {
        Ok(self.with(py.detach(|| self.model.clone().autoencoder(name))?))
    }

    /// The name that it was opened by.
    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    /// `network`, `latent` or `closed form`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.model.kind() {
            Kind::Network(_) => "network",
            Kind::Latent(_) => "latent",
            Kind::ClosedForm(_) => "closed form",
        }
    }

    /// Everything about it that reports have, as JSON.
    fn facts(&self) -> String {
        let mut facts = model_json(&self.model);
        if let Some(network) = self.model.network() {
            facts["config_values"] = Value::Object(network.config.values.clone());
            facts["scheduler_values"] = network.scheduler_file.as_ref().map(|file| file.values.clone()).into();
            facts["prediction"] = network.scheduler.prediction_type.name().into();
            facts["classes"] = network.classes.iter().map(|(label, name)| json!([label, name])).collect();
            facts["added"] = network.net.added().is_some().into();
            facts["context_channels"] = network.net.context().map(|input| input.channels).into();
        }
        facts["takes_prompt"] = match self.model.kind() {
            Kind::Latent(latent) => matches!(latent.source, Source::Text(_)),
            Kind::Network(_) | Kind::ClosedForm(_) => false,
        }
        .into();
        facts.to_string()
    }

    /// (channels, height, width) of what it denoises; `None` for a network without a usual size.
    #[getter]
    fn shape(&self) -> Option<(usize, usize, usize)> {
        let [channels, height, width] = match self.model.kind() {
            Kind::ClosedForm(form) => form.image_shape(),
            Kind::Network(network) => network.image_shape(network.net.sample_size()?),
            Kind::Latent(latent) => {
                // Networks of inpainting take further channels.
                let [_, height, width] = latent.network.image_shape(latent.network.net.sample_size()?);
                [latent.latent_channels(), height, width]
            }
        };
        Some((channels, height, width))
    }

    /// The least and the most noise that it was made for.
    #[getter]
    fn sigma_range(&self) -> (f64, f64) {
        self.model.sigma_range()
    }

    /// The noise levels of a network's training.
    fn sigmas<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArray1<f64>>> {
        Ok(self.network()?.table.sigmas().to_pyarray(py))
    }

    /// sigma of each timestep.
    fn sigma_of(&self, timesteps: Vec<f64>) -> Result<Vec<f64>> {
        let table = &self.network()?.table;
        Ok(timesteps.into_iter().map(|timestep| table.sigma(timestep)).collect())
    }

    /// The timestep of each sigma.
    fn timestep_of(&self, sigmas: Vec<f64>) -> Result<Vec<f64>> {
        let table = &self.network()?.table;
        Ok(sigmas.into_iter().map(|sigma| table.timestep(sigma)).collect())
    }

    /// The factor from x at each sigma to the network's input.
    fn input_scale(&self, sigmas: Vec<f64>) -> Result<Vec<f64>> {
        let process = self.network()?.table.process();
        Ok(sigmas.into_iter().map(|sigma| process.input_scale(sigma)).collect())
    }

    /// The noise levels of sampling under settings.
    fn schedule(&self, settings: &str) -> Result<PySchedule> {
        let course = self.model.course(&read_settings(settings)?)?;
        Ok(PySchedule { schedule: course.schedule, notes: course.notes })
    }

    /// The device.
    #[getter]
    fn engine(&self) -> PyEngine {
        PyEngine::new(self.compiler.engine)
    }

    /// Frees what single calls and runs of this model have left on the device.
    fn release(&self, py: Python<'_>) -> Result<()> {
        let Ok(mut session) = self.session.try_lock() else {
            return Err(argument(
                format!("`{}` is sampling, and is not released within a run", self.model.name()),
                "release it after the run",
            ));
        };
        let left = session.take();
        py.detach(|| {
            self.calls.clear();
            drop(left);
        });
        Ok(())
    }
}

/// The settings of a sampler, from JSON that the package made.
pub fn read_settings(text: &str) -> Result<Settings> {
    Ok(serde_json::from_str(text).map_err(|error| {
        // Without the place in a text that the caller has not seen.
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default().to_owned();
        Error::argument(format!("settings of the sampler: {what}"), "see `downhill.sampler_names()` for the samplers")
    })?)
}

fn predicted(name: &str) -> Result<PredictionType> {
    let all =
        [PredictionType::Epsilon, PredictionType::Sample, PredictionType::VPrediction, PredictionType::FlowPrediction];
    let found = all.into_iter().find(|prediction| prediction.name() == name);
    found.ok_or_else(|| {
        let names = all.map(|prediction| format!("`{}`", prediction.name())).join(", ");
        argument(format!("`prediction` of `{name}`"), format!("networks predict {names}"))
    })
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyModel>()
}
