//! The run of a pipeline from text to images: text, latents, images. Components go to the device in turn, and stay there only
//! where the memory that may be taken holds both.

use serde_json::{Map, Value};

use super::job::Job;
use super::results::{Batch, Results};
use super::run::{Compute, Traced, batches};
use super::start::Start;
use super::text::Prompt;
use crate::checkpoint::Component;
use crate::cli::device;
use crate::cli::model::footprint_json;
use crate::cli::pipeline::{self, Files, TextToImage, within};
use crate::cli::timing::{SAMPLING, Stopwatch};
use crate::denoise::{Condition, Guidance, Network, NetworkDenoiser};
use crate::error::Result;
use crate::graph::Plan;
use crate::graph::run::check_values;
use crate::graph::{Compiler, Footprint};
use crate::latent::autoencoder::{Decoder, Encoder, Planned, scaled, unscaled};
use crate::latent::text::TextEncoder;
use crate::latent::tiles::Room;
use crate::report::Console;
use crate::tensor::Tensor;

/// Images that are decoded at a time.
const DECODED_AT_ONCE: usize = 1;

/// Makes the images of `job`.
///
/// # Errors
/// Before anything runs: [`crate::Error::OverLimit`] for a component that the device or the budget cannot hold. Then what the device
/// reports, and what writing files does.
pub fn compute(
    job: &Job,
    (opened, prompt, tokens): (&TextToImage, &Prompt, &[Vec<u32>; 2]),
    files: Files,
    compiler: Compiler,
    clock: &mut Stopwatch,
    console: Console,
) -> Result<Compute> {
    let (engine, memory) = (compiler.engine, prompt.memory.0);
    let halves = if prompt.scale == 1.0 { 1 } else { 2 };
    let unet_plan = |images| opened.unet_plan(images, halves, job.size, compiler);
    let batch = pipeline::batch(job.batch, job.images.len(), &unet_plan, memory)?;
    let unet = unet_plan(batch)?;
    let [_, height, width] = opened.latent_shape(job.size);
    let room = Room { target: compiler.target(), options: compiler.options, budget: Some(memory) };
    let latents = (height, width);
    let decoding = Planned::new(&opened.autoencoder, DECODED_AT_ONCE, latents, prompt.tiling, &room)?;
    let encoding = match &job.start {
        Start::Image(..) => Some(compiler.plan(&opened.autoencoder.encoder(1, (job.size.height, job.size.width))?)),
        _ => None,
    };
    let text = opened.text_plan(halves, compiler);
    let mut components = Map::new();
    // Of several plans one is on the device at a time.
    let mut takes = |name: &str, plans: &[Plan]| -> Result<u64> {
        let Some(footprint) = Footprint::largest(plans) else { return Ok(0) };
        components.insert(name.to_owned(), footprint_json(&footprint, None));
        plans.iter().try_for_each(|plan| check_values(engine, plan))?;
        within(name, footprint.allocated, memory)?;
        Ok(footprint.allocated)
    };
    takes("text_encoder", std::slice::from_ref(&text))?;
    takes("vae_encoder", encoding.as_slice())?;
    let (of_unet, of_decoder) = (takes("unet", std::slice::from_ref(&unet))?, takes("vae_decoder", decoding.plans())?);
    let both_stay = of_unet + of_decoder <= memory;

    device::make_ready(engine, &text, clock)?;
    let guidance = guidance(prompt.scale, tokens, files.text, compiler)?;
    clock.lap("text");
    let Files { unet: network, autoencoder, .. } = files;
    let clean = match &job.start {
        Start::Image(_, picture, _) => {
            let pixels = picture.at(opened.image_channels(), (job.size.height, job.size.width))?;
            let encoder = Encoder::new(compiler, &autoencoder, 1, (job.size.height, job.size.width))?;
            let posterior = encoder.encode(&pixels)?;
            clock.lap("image");
            Some(scaled(opened.autoencoder.config(), &posterior.mean))
        }
        _ => None,
    };

    device::make_ready(engine, &unet, clock)?;
    let table = opened.table.clone();
    let size = guidance.call_size(batch, (height, width));
    let network = Network::new(compiler, opened.unet.clone(), network.weights, size)?;
    let guided = NetworkDenoiser::new(network, table, opened.scheduler.prediction_type, guidance)?;
    clock.lap_with("upload", format!("{:.1} MiB of weights", Footprint::of(&unet).weights as f64 / f64::from(1 << 20)));
    let mut denoiser = Traced { network: guided, traces: job.trace_nonfinite };
    let mut results = Results::new(job);
    let load = || Decoder::new(engine, autoencoder, latents, decoding);
    let unscaled = |z: &Tensor| unscaled(opened.autoencoder.config(), z);
    let seconds = if both_stay {
        let decoder = load()?;
        let mut each = |taken: Batch| results.take(taken, &mut |z| decoder.decode(&unscaled(z)));
        let seconds = batches(job, &mut denoiser, batch, clean.as_ref(), &mut each, console)?;
        clock.lap_with(SAMPLING, format!("{} steps, and decoding", seconds.len()));
        seconds
    } else {
        let mut kept = Vec::new();
        let mut each = |taken: Batch| {
            kept.push(taken);
            Ok(())
        };
        let seconds = batches(job, &mut denoiser, batch, clean.as_ref(), &mut each, console)?;
        clock.lap_with(SAMPLING, format!("{} steps", seconds.len()));
        drop(denoiser);
        let decoder = load()?;
        for taken in kept {
            results.take(taken, &mut |z| decoder.decode(&unscaled(z)))?;
        }
        clock.lap("decoding");
        seconds
    };
    let outputs = results.finish(console)?;
    clock.lap("writing");
    Ok(Compute { batch, seconds, outputs, memory: Value::Object(components), algorithms: Value::Null })
}

/// The embeddings that lead the images. The text encoder leaves the device again.
fn guidance(
    scale: f64,
    [negative, prompt]: &[Vec<u32>; 2],
    component: Component,
    compiler: Compiler,
) -> Result<Guidance> {
    let guided = scale != 1.0;
    let texts = if guided { vec![prompt.clone(), negative.clone()] } else { vec![prompt.clone()] };
    let encoder = TextEncoder::new(compiler, component, texts.len())?;
    let embeddings = encoder.encode(&texts)?;
    let row = |at: usize| {
        let mut shape = embeddings.shape.clone();
        shape[0] = 1;
        Tensor::new(shape, embeddings.item(at).to_vec())
    };
    let condition = |at: usize| Condition::context(row(at));
    Ok(Guidance { conditional: condition(0), unconditional: guided.then(|| condition(1)), scale })
}
