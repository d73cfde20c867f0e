//! A model on the device of the page.

use std::rc::Rc;

use downhill::denoise::{Denoiser, Level};
use downhill::low_level::gpu::Kind;
use downhill::low_level::graph::Footprint;
use downhill::low_level::kernels::Family;
use downhill::model::{DenoiserOptions, NetworkModel};
use downhill::{Compiler, Engine, Error, Result, Tensor};
use futures_util::lock::Mutex;
use js_sys::{Float32Array, Function};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::device::engine;
use crate::nearest::Digits;
use crate::sampling::{Sampling, SamplingOptions};
use crate::value::{JsResult, floats, object, settings, thrown};

/// Images per call at most on a GPU.
const BATCH: u64 = 16;
/// The same on a software adapter, which takes hardly longer for four small images than for one, and four times as long
/// for large ones; the maps of a small one are up to [`SMALL`] bytes.
const SOFTWARE_BATCH: u64 = 4;
const SMALL: u64 = 4 << 20;
/// The largest memory of a network on the device where none is given, in bytes.
const MEMORY: f64 = (512u32 << 20) as f64;

/// A model that is ready to be called.
#[wasm_bindgen]
pub struct Model {
    opened: Rc<Opened>,
}

/// A model on its device. Calls take turns.
pub struct Opened {
    pub engine: &'static Engine,
    pub model: downhill::Model,
    pub denoiser: Mutex<Box<dyn Denoiser>>,
    /// Images per call.
    pub batch: usize,
    /// The embedded digits, for models of these.
    pub digits: Option<Digits>,
    description: Description,
}

/// The facts about a model.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    name: String,
    kind: &'static str,
    channels: usize,
    height: usize,
    width: usize,
    parameters: u64,
    family: &'static str,
    weight_bytes: u64,
    map_bytes: u64,
}

/// Opens a model: the embedded digits without files, a folder of diffusers by the paths inside it, or a single file.
/// `progress` is called with a few words where another part begins.
///
/// # Errors
/// Those of the files, of the device, and one of the kind `memory` for a network above `memory` bytes.
#[wasm_bindgen]
pub async fn open(
    name: Option<String>,
    paths: Vec<String>,
    contents: Vec<js_sys::Uint8Array>,
    memory: Option<f64>,
    progress: Function,
) -> JsResult<Model> {
    let say = |words: &str| {
        // An error of the page's own function is the page's.
        let _ = progress.call1(&JsValue::NULL, &words.into());
    };
    say("reading the model");
    let files = paths.into_iter().zip(contents.iter().map(js_sys::Uint8Array::to_vec));
    let is_embedded = name.is_none();
    let model = match name {
        None => downhill::Model::embedded(),
        Some(name) => downhill::Model::from_files(&name, files),
    };
    let model = model.map_err(thrown)?;
    say("opening the device");
    let engine = engine().await.map_err(thrown)?;
    let opened = place(engine, model, is_embedded, memory.unwrap_or(MEMORY) as u64, &say).await.map_err(thrown)?;
    Ok(Model { opened: Rc::new(opened) })
}

/// Puts a model on the device.
async fn place(
    engine: &'static Engine,
    model: downhill::Model,
    is_embedded: bool,
    memory: u64,
    say: &dyn Fn(&str),
) -> Result<Opened> {
    let network = pixels(&model)?;
    let [channels, height, width] = model.denoised_shape(None)?;
    let one = Footprint::of(&network.plan(Compiler::from(engine), network.call(1, (height, width)))?);
    let maps = one.allocated - one.weights;
    if one.allocated > memory {
        return Err(Error::OverLimit {
            tensor: model.name().to_owned(),
            bytes: one.allocated,
            limit_name: "memory limit",
            limit: memory,
            hint: format!(
                "its weights take {} MiB and the maps of one image {} MiB; use the program `downhill`, or raise \
                 `memoryLimit`",
                one.weights >> 20,
                maps >> 20
            ),
        });
    }
    let most = match engine.gpu.adapter.kind {
        Kind::Software if maps > SMALL => 1,
        Kind::Software => SOFTWARE_BATCH,
        _ => BATCH,
    };
    let batch = ((memory - one.weights) / maps.max(1)).clamp(1, most) as usize;
    let description = Description {
        name: model.name().to_owned(),
        kind: "network",
        channels,
        height,
        width,
        parameters: network.weights.parameters(),
        family: match engine.family {
            Family::Tile => "tile",
            Family::Lanes { .. } => "lanes",
            Family::Matrix { .. } => "matrix",
        },
        weight_bytes: one.weights,
        map_bytes: maps,
    };
    say("compiling kernels and copying weights");
    let options = DenoiserOptions { batch: Some(batch), images: batch, label: None };
    let placed = engine.gpu.replay(|| model.clone().denoiser(engine, &options, &mut |_| Ok(()))).await?;
    let digits = is_embedded.then(Digits::load).transpose()?;
    Ok(Opened { engine, model, denoiser: Mutex::new(placed.denoiser), batch, digits, description })
}

/// The network of a model of pixels.
fn pixels(model: &downhill::Model) -> Result<&NetworkModel> {
    match model.kind() {
        downhill::model::Kind::Network(network) => Ok(network),
        downhill::model::Kind::Latent(_) | downhill::model::Kind::ClosedForm(_) => Err(Error::argument(
            format!("`{}` is not a network of pixels, and only these run in browsers", model.name()),
            "use the program `downhill`",
        )),
    }
}

#[wasm_bindgen]
impl Model {
    /// The facts about the model.
    ///
    /// # Errors
    /// None in practice.
    pub fn description(&self) -> JsResult<JsValue> {
        object(&self.opened.description)
    }

    /// Estimates eps of `x`, (n, c, h, w), at one level per image, or one for all.
    ///
    /// # Errors
    /// One of the kind `argument` for values that are not whole images at such levels; those of the device.
    pub async fn denoise(&self, x: Vec<f32>, sigmas: Vec<f64>) -> JsResult<Float32Array> {
        let opened = Rc::clone(&self.opened);
        opened.denoise(x, sigmas).await.map(|eps| floats(&eps)).map_err(thrown)
    }

    /// Begins a run.
    ///
    /// # Errors
    /// Those of [`downhill::Sampling::resolve`].
    pub fn sample(&self, options: &str) -> JsResult<Sampling> {
        let options: SamplingOptions = settings(options)?;
        Sampling::new(Rc::clone(&self.opened), options).map_err(thrown)
    }
}

impl Opened {
    async fn denoise(&self, x: Vec<f32>, sigmas: Vec<f64>) -> Result<Tensor> {
        let mut denoiser = self.denoiser.lock().await;
        let [channels, height, width] = denoiser.image_shape();
        let image = channels * height * width;
        let count = x.len() / image;
        if count == 0 || x.len() != count * image {
            let what = format!("{} values are not images of {channels} x {height} x {width}", x.len());
            return Err(Error::argument(what, "give (n, channels, height, width)"));
        }
        if ![1, count].contains(&sigmas.len()) {
            let what = format!("{} noise levels for {count} images", sigmas.len());
            return Err(Error::argument(what, "give one for all images, or one per image"));
        }
        if let Some(sigma) = sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma > 0.0)) {
            return Err(Error::argument(format!("`sigma` of {sigma}"), "give a number above 0"));
        }
        let levels: Vec<Level> = (0..count).map(|at| Level::at_sigma(sigmas[at % sigmas.len()])).collect();
        let x = Tensor::new([count, channels, height, width], x);
        self.engine.gpu.replay(|| denoiser.eps(&x, &levels)).await
    }
}
