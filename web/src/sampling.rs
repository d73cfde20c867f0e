//! A run, step by step.

use std::rc::Rc;

use downhill::sample::stepping::{Stepped, Stepping};
use downhill::{Result, Settings, Tensor};
use js_sys::{Array, Float32Array, Object};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::model::Opened;
use crate::value::{JsResult, floats, seed, set, thrown};

/// Options of a run; see `downhill.d.ts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SamplingOptions {
    count: Option<usize>,
    steps: Option<usize>,
    sampler: Option<String>,
    schedule: Option<String>,
    gamma: Option<f64>,
    mu: Option<f64>,
    eta: Option<f64>,
    /// In decimal.
    seed: Option<String>,
    sigma_max: Option<f64>,
    sigma_min: Option<f64>,
    batch: Option<usize>,
}

/// A run of a model.
#[wasm_bindgen]
pub struct Sampling {
    opened: Rc<Opened>,
    stepping: Stepping,
}

impl Sampling {
    /// A run before its first step.
    ///
    /// # Errors
    /// Those of [`downhill::Sampling::resolve`]; [`downhill::Error::Argument`] for a name or a seed that is none.
    pub fn new(opened: Rc<Opened>, options: SamplingOptions) -> Result<Self> {
        let settings = Settings {
            sampler: options.sampler.as_deref().map(str::parse).transpose()?,
            schedule: options.schedule.as_deref().map(str::parse).transpose()?,
            steps: options.steps,
            gamma: options.gamma,
            mu: options.mu,
            eta: options.eta,
            sigma_max: options.sigma_max,
            sigma_min: options.sigma_min,
            ..Settings::default()
        };
        let seed = seed(options.seed.as_deref())?;
        let batch = options.batch.unwrap_or(opened.batch);
        let sampling = opened.model.sampling().settings(settings).seed(seed).batch(batch);
        let run = sampling.count(options.count.unwrap_or(16)).resolve()?;
        let batches = downhill::sample::run::Run { batch: batch.max(1), ..run.run }.batches(run.state)?;
        Ok(Self { opened, stepping: Stepping::new(batches)? })
    }
}

#[wasm_bindgen]
impl Sampling {
    /// Takes the next step; `undefined` after the last.
    ///
    /// # Errors
    /// Those of [`Stepping::next`].
    pub async fn next(&mut self) -> JsResult<JsValue> {
        let mut denoiser = self.opened.denoiser.lock().await;
        let stepped = self.stepping.next(&self.opened.engine.gpu, denoiser.as_mut()).await.map_err(thrown)?;
        Ok(stepped.map_or(JsValue::UNDEFINED, |stepped| self.described(&stepped).into()))
    }

    fn described(&self, stepped: &Stepped) -> Object {
        let object = Object::new();
        set(&object, "index", stepped.index as f64);
        set(&object, "steps", stepped.steps as f64);
        set(&object, "images", stepped.images.iter().map(|image| JsValue::from(*image as f64)).collect::<Array>());
        set(&object, "sigma", stepped.step.from.sigma);
        set(&object, "sigmaNext", stepped.step.to.sigma);
        set(&object, "calls", stepped.calls as f64);
        set(&object, "x", floats(&stepped.x));
        set(&object, "x0", floats(&stepped.x0));
        set(&object, "epsNorm", Float32Array::from(norms(&stepped.eps).as_slice()));
        set(&object, "distance", self.distances(&stepped.x0));
        set(&object, "stateDistance", self.distances(&stepped.x));
        let samples = stepped.samples.as_ref().map_or(JsValue::NULL, |samples| floats(samples).into());
        set(&object, "samples", samples);
        object
    }

    /// The distances to the nearest digits, `null` for other models.
    fn distances(&self, images: &Tensor) -> JsValue {
        let distances = self.opened.digits.as_ref().map(|digits| digits.distances(images));
        distances.map_or(JsValue::NULL, |values| Float32Array::from(values.as_slice()).into())
    }
}

/// |eps| / sqrt(values) of each image.
fn norms(eps: &Tensor) -> Vec<f32> {
    let norm = |image: &[f32]| {
        let sum: f64 = image.iter().map(|value| f64::from(*value).powi(2)).sum();
        (sum / image.len() as f64).sqrt() as f32
    };
    eps.data.chunks_exact(eps.stride().max(1)).map(norm).collect()
}
