//! One call of a network that looks at a context.

use std::path::Path;

use serde_json::json;

use super::{Args, Labels, checked_sigma, expect_labels, read_labels, read_timesteps};
use crate::checkpoint::{ConfigFile, ModelFiles};
use crate::cli::args::Global;
use crate::cli::device::{self, adapter_json, family_text};
use crate::cli::model::{Algorithms, footprint_json, model_json, noise_of, read_images, usual_batch};
use crate::cli::timing::Stopwatch;
use crate::denoise::Level;
pub use crate::denoise::conditioned::CLASSES;
use crate::denoise::conditioned::{Conditioned, open_net, plan};
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::graph::{Compiler, Footprint};
use crate::nets::unet2d_condition::UNet2dCondition;
use crate::report::{Console, Report};
use crate::tensor::Tensor;

/// The answer of the network in `model` to what `args` ask.
pub fn compute(
    args: &Args,
    model: ModelFiles,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let net = open_net(&model.config, &model.weights)?;
    let (scheduler, table) = noise_of(&model)?;
    let about = model_json(&model);
    let x = read_images(&args.input, net.config().in_channels)?;
    let context = read_context(args.context.as_deref(), x.shape[0], &net, &model.name)?;
    let (images, size, tokens) = (x.shape[0], (x.shape[2], x.shape[3]), context.shape[1]);
    let graph = net.graph(1, size.0, size.1, tokens)?;
    let labels = args.class_labels.as_deref().map(|file| read_labels(file, images)).transpose()?;
    let sigma = match args.sigma {
        Some(sigma) => {
            expect_denoiser(&net, &model.config)?;
            Some(vec![checked_sigma(sigma)?; images])
        }
        None => None,
    };
    if net.config().class_embedding.is_some() {
        expect_labels(labels.as_ref(), &model.name)?;
    }
    let timesteps = match (&args.timesteps, &sigma) {
        (Some(timesteps), _) => read_timesteps(timesteps, images)?,
        (None, sigma) => sigma.iter().flatten().map(|sigma| table.timestep(*sigma)).collect(),
    };
    // The host's part of a call finds everything that does not fit the network.
    let classes = labels.as_ref().map(Labels::as_class_labels);
    let each = spread(&context, images);
    net.feeds(&x, &timesteps, &each, classes, &|key, shape| model.weights.fetch(key, shape))?;

    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.options(global));
    let target = compiler.target();
    clock.lap("adapter");
    let planned = |batch: usize| plan(&net, batch, size, tokens, &target, &compiler.options);
    let batch = match args.batch {
        Some(batch) => batch,
        None => usual_batch(&planned(1)?, &engine),
    };
    let batch = batch.clamp(1, images);
    let plan = planned(batch)?;
    let footprint = Footprint::of(&plan);
    let algorithms = Algorithms::of(&plan, &graph, &target, &compiler.options);
    device::make_ready(&engine, &plan, &mut clock)?;
    let network = Conditioned::new(compiler, net, model.weights, batch, size, tokens)?;
    clock.lap("upload");
    let answer = match &sigma {
        Some(sigma) => network.eps(&x, &Level::each(sigma), &table, &context, scheduler.prediction_type)?,
        None => network.call(&x, &timesteps, &context, labels.as_ref().map(Labels::as_class_labels))?,
    };
    clock.lap("call");
    let (kind, levels) = match sigma {
        Some(sigma) => ("sigma", sigma),
        None => ("timesteps", timesteps),
    };
    report
        .set("model", about)
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(x.shape))
        .set("context", json!(context.shape))
        .set(kind, json!(levels))
        .set("algorithms", algorithms.json())
        .set("batch", batch)
        .set("memory", footprint_json(&footprint, Some(engine.gpu.memory_bytes().1)))
        .set("timings", clock.json(&[]))
        .set("outputs", json!([args.output.display().to_string()]));
    Ok(answer)
}

/// Finite contexts (N, tokens, dim) or (1, tokens, dim) for `images` images; one of nothing where the network looks at none.
fn read_context(file: Option<&Path>, images: usize, net: &UNet2dCondition, name: &str) -> Result<Tensor> {
    let dim = net.config().cross_attention_dim;
    let Some(file) = file else {
        if !net.config().has_cross_attention() {
            return Ok(Tensor::zeros([1, 1, dim]));
        }
        return Err(Error::argument(
            format!("`{name}` looks at a context"),
            format!("give `--context FILE.npy`: (N,tokens,{dim}), or (1,tokens,{dim}) for all images"),
        ));
    };
    let context = npy::read(file)?;
    match context.shape[..] {
        [n, tokens, found] if (n == 1 || n == images) && tokens > 0 && found == dim => {}
        _ => {
            return Err(Error::bad_file_hint(
                file,
                format!("the array has shape {:?}, expected [{images}, tokens, {dim}]", context.shape),
                format!("give a context for each image, or one for all: [1, tokens, {dim}]"),
            ));
        }
    }
    if !context.is_finite() {
        let hint = "every value must be a finite number".to_owned();
        return Err(Error::NonFinite { place: file.display().to_string(), hint });
    }
    Ok(context)
}

/// A context for each image.
fn spread(context: &Tensor, images: usize) -> Tensor {
    let mut shape = context.shape.clone();
    let times = images / shape[0];
    shape[0] = images;
    Tensor::new(shape, context.data.repeat(times))
}

/// A network that answers another number of channels than it reads is no denoiser.
fn expect_denoiser(net: &UNet2dCondition, file: &ConfigFile) -> Result<()> {
    let config = net.config();
    if config.in_channels == config.out_channels && config.class_embedding.is_none() {
        return Ok(());
    }
    Err(Error::bad_file_hint(
        &file.path,
        format!(
            "a network of {} channels in and {} out, with class labels or without, is asked by its timesteps",
            config.in_channels, config.out_channels
        ),
        "give `--timesteps` in place of `--sigma`",
    ))
}
