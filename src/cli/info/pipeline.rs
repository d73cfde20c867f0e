//! `downhill info` of a pipeline: each component by itself, as each is on the device by itself.

use std::sync::Arc;

use indicatif::{BinaryBytes, HumanCount};
use serde_json::{Map, Value, json};

use super::{Args, Found, dtypes, kernels, predicted};
use crate::checkpoint::Weights;
use crate::cli::args::Global;
use crate::error::{Error, Result};
use crate::graph::op::Graph;
use crate::model::describe::{family_text, footprint_json, model_json};
use crate::model::{Call, LatentModel, Model, Size, Source};
use crate::nets::architecture::CallSize;
use crate::report::Console;
use crate::report::columns::Lines;

/// Conditions per image: the one to follow and the one to move away from.
const CONDITIONS: usize = 2;

/// One call of one component.
struct Component<'a> {
    name: &'static str,
    class: &'a str,
    weights: &'a Weights,
    /// The arguments of the call, in words.
    what: String,
    graph: Arc<Graph>,
}

/// Describes a pipeline.
///
/// # Errors
/// [`Error::Argument`] for a size that it cannot make, and without a size where the configuration has none.
pub fn describe(model: &Model, latent: &LatentModel, args: &Args, global: &Global, console: Console) -> Result<Found> {
    let network = &latent.network;
    let size = args.size.map(Into::into).or(latent.trained_size()).ok_or_else(|| {
        let what = format!("`{}` does not say how large its images are", model.name());
        Error::argument(what, "give `--size HEIGHTxWIDTH`")
    })?;
    latent.expect_size(size)?;
    let images = args.batch.unwrap_or(1);
    let [channels, height, width] = latent.latent_shape(size);
    let call = CallSize::images(CONDITIONS * images, (height, width)).with_tokens(latent.tokens());
    let graph = network.graph(call)?;
    let kernels = kernels(global, console)?;
    let options = args.dtype.unwrap_or_default().options(global);
    let latents = format!("{channels} x {height} x {width}");
    let autoencoder = |name, what, graph| Component {
        name,
        class: latent.autoencoder_files.config.class_name().unwrap_or_default(),
        weights: &latent.autoencoder_files.weights,
        what,
        graph: Arc::new(graph),
    };
    let (condition, mut components) = match &latent.source {
        Source::Labels => ("class", Vec::new()),
        Source::Text(source) => {
            let encoder = Component {
                name: "text_encoder",
                class: source.files.config.class_name().unwrap_or("CLIPTextModel"),
                weights: &source.files.weights,
                what: format!("{CONDITIONS} texts of {} tokens", latent.tokens()),
                graph: Arc::new(source.encoder.graph(CONDITIONS)),
            };
            ("prompt", vec![encoder])
        }
    };
    components.push(Component {
        name: latent.component,
        class: network.net.class_name(),
        weights: &network.weights,
        what: format!("{images} x {latents}, with the {condition} and without"),
        graph,
    });
    let (decoder, encoder) = (latent.autoencoder.decoder(1, (height, width))?, latent.autoencoder.encoder(1, size)?);
    components.push(autoencoder("vae decoder", format!("{latents} to {} x {}", size.0, size.1), decoder));
    components.push(autoencoder("vae encoder", format!("{} x {} to {latents}", size.0, size.1), encoder));
    let mut lines = Lines::default();
    head(&mut lines, latent, size);
    lines.add("kernels", family_text(kernels.family));
    let (mut plans, mut json) = (Vec::new(), Map::new());
    for part in &components {
        let call = Call::of(&part.graph, &kernels.target(), &options);
        json.insert(part.name.replace(' ', "_"), component(&mut lines, part, &call));
        plans.push(format!("\n{}\n{}", part.name, call.plan));
    }
    let mut text = lines.to_string();
    if args.plan {
        text += &plans.concat();
    }
    let call = json!({
        "batch": images, "height": size.0, "width": size.1, "family": family_text(kernels.family),
        "components": json,
    });
    Ok(Found { text, sections: vec![("model", model_json(model)), ("call", call)] })
}

fn head(lines: &mut Lines, latent: &LatentModel, size: Size) {
    let network = &latent.network;
    lines.add("model", &network.name);
    lines.add("class", latent.class.as_deref().unwrap_or("none"));
    let (height, width) = latent.trained_size().unwrap_or(size);
    lines.add("images", format!("{height} x {width}; sides are multiples of {}", latent.factor()));
    lines.add("answer", predicted(network, "latents"));
    if !network.classes.is_empty() {
        lines.add("classes", format!("{} with names", network.classes.len()));
    }
    lines.add("scheduler", network.scheduler.class_name.as_deref().unwrap_or("none, diffusers' defaults"));
    let (least, most) = (network.table.sigma_min(), network.table.sigma_max());
    lines.add("noise", format!("{} timesteps, sigma {least:.4} to {most:.4}", network.table.timesteps()));
}

/// The lines of a component, and the same for a report.
fn component(lines: &mut Lines, component: &Component, call: &Call) -> Value {
    let Component { name, class, weights, what, .. } = component;
    let footprint = &call.footprint;
    let gflop = call.flops as f64 / 1e9;
    lines.add(name, class);
    let stored = BinaryBytes(weights.bytes());
    lines.add("  parameters", format!("{} in {}, {stored}", HumanCount(weights.parameters()), dtypes(weights)));
    lines.add("  one call", format!("{what}: {gflop:.1} GFLOP in {} dispatches", call.plan.steps.len()));
    let (weights, values) = (BinaryBytes(footprint.weights), BinaryBytes(footprint.arena));
    lines.add("  weights", format!("{weights} in {} as laid out", footprint.dtype));
    lines.add("  values", values);
    lines.add("  peak", BinaryBytes(footprint.allocated));
    json!({ "gflop": gflop, "dispatches": call.plan.steps.len(), "memory": footprint_json(footprint, None) })
}
