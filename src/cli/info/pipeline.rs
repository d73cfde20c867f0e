//! `downhill info` of a pipeline from text to images: each component by itself, as each is on the device by itself.

use indicatif::{BinaryBytes, HumanCount};
use serde_json::{Map, Value, json};

use super::{Args, Found, dtypes, kernels};
use crate::checkpoint::Component;
use crate::cli::args::{Global, Size};
use crate::cli::device::family_text;
use crate::cli::model::footprint_json;
use crate::cli::pipeline::{Files, TextToImage};
use crate::cli::table::Lines;
use crate::denoise::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::graph::Footprint;
use crate::graph::Plan;
use crate::graph::op::Graph;
use crate::report::Console;

/// Texts of a run: the prompt and the negative one.
const TEXTS: usize = 2;

/// One call of one component.
struct Call<'a> {
    name: &'static str,
    component: &'a Component,
    /// What it is called with, in words.
    what: String,
    graph: Graph,
    plan: Plan,
}

/// Describes `opened`.
///
/// # Errors
/// [`Error::Argument`] for a size that it cannot make, and where nobody names one.
pub fn describe(opened: &TextToImage, files: &Files, args: &Args, global: &Global, console: Console) -> Result<Found> {
    let size = args.size.or(opened.trained()).ok_or_else(|| {
        Error::argument(
            format!("`{}` does not say how large its images are", opened.name),
            "give `--size HEIGHTxWIDTH`",
        )
    })?;
    opened.expect_size(size)?;
    let kernels = kernels(global, console)?;
    let (family, target, options) = (kernels.family, kernels.target(), args.dtype.unwrap_or_default().options(global));
    let images = args.batch.unwrap_or(1);
    let [channels, height, width] = opened.latent_shape(size);
    let tokens = opened.tokenizer.length();
    let whole = |graph: &Graph| Plan::new(graph, &target, &options);
    let pixels = (size.height, size.width);
    let text = opened.text.graph(TEXTS);
    let unet = opened.unet.graph(opened.unet_size(TEXTS * images, size))?;
    let (decoder, encoder) = (opened.autoencoder.decoder(1, (height, width))?, opened.autoencoder.encoder(1, pixels)?);
    let latents = format!("{channels} x {height} x {width}");
    let calls = [
        Call {
            name: "text_encoder",
            component: &files.text,
            what: format!("{TEXTS} texts of {tokens} tokens"),
            plan: whole(&text),
            graph: text,
        },
        Call {
            name: "unet",
            component: &files.unet,
            what: format!("{images} x {latents}, with the prompt and without"),
            plan: whole(&unet),
            graph: unet,
        },
        Call {
            name: "vae decoder",
            component: &files.autoencoder,
            what: format!("{latents} to {} x {}", size.height, size.width),
            plan: whole(&decoder),
            graph: decoder,
        },
        Call {
            name: "vae encoder",
            component: &files.autoencoder,
            what: format!("{} x {} to {latents}", size.height, size.width),
            plan: whole(&encoder),
            graph: encoder,
        },
    ];
    let mut lines = Lines::default();
    head(&mut lines, opened, size);
    lines.add("kernels", family_text(family));
    let mut plans = Vec::new();
    let mut components = Map::new();
    for call in &calls {
        components.insert(call.name.replace(' ', "_"), component(&mut lines, call));
        plans.push(format!("\n{}\n{}", call.name, call.plan));
    }
    let mut text = lines.to_string();
    if args.plan {
        text += &plans.concat();
    }
    let call = json!({
        "batch": images, "height": size.height, "width": size.width, "family": family_text(family),
        "components": components,
    });
    Ok(Found { text, sections: vec![("model", opened.json.clone()), ("call", call)] })
}

fn head(lines: &mut Lines, opened: &TextToImage, size: Size) {
    lines.add("model", &opened.name);
    lines.add("class", opened.json["class"].as_str().unwrap_or("none"));
    let trained = opened.trained().unwrap_or(size);
    let factor = opened.factor();
    lines.add("images", format!("{} x {}; sides are multiples of {factor}", trained.height, trained.width));
    let answer = match opened.scheduler.prediction_type {
        PredictionType::Epsilon => "the noise eps",
        PredictionType::Sample => "the latents x0",
        PredictionType::VPrediction => "the velocity v",
    };
    lines.add("answer", answer);
    lines.add("scheduler", opened.scheduler.class_name.as_deref().unwrap_or("none, diffusers' defaults"));
    let (least, most) = (opened.table.sigma_min(), opened.table.sigma_max());
    lines.add("noise", format!("{} timesteps, sigma {least:.4} to {most:.4}", opened.table.timesteps()));
}

/// The lines of a component, and the same for a report.
fn component(lines: &mut Lines, call: &Call) -> Value {
    let Call { name, component, what, graph, plan } = call;
    let weights = &component.weights;
    let footprint = Footprint::of(plan);
    let gflop = graph.flops() as f64 / 1e9;
    lines.add(name, component.config.class_name().unwrap_or("CLIPTextModel"));
    let stored = BinaryBytes(weights.bytes());
    lines.add("  parameters", format!("{} in {}, {stored}", HumanCount(weights.parameters()), dtypes(weights)));
    lines.add("  one call", format!("{what}: {gflop:.1} GFLOP in {} dispatches", plan.steps.len()));
    let (weights, values) = (BinaryBytes(footprint.weights), BinaryBytes(footprint.arena));
    lines.add("  weights", format!("{weights} in {} as laid out", footprint.dtype));
    lines.add("  values", values);
    lines.add("  peak", BinaryBytes(footprint.allocated));
    json!({ "gflop": gflop, "dispatches": plan.steps.len(), "memory": footprint_json(&footprint, None) })
}
