//! A model on paper: its facts, and one call of each of its networks.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::describe::{algorithms_json, family_text, footprint_json, model_json};
use super::{Call, Kind, LatentModel, Model, NetworkModel, Size, Source, TextPart};
use crate::checkpoint::Weights;
use crate::denoise::diffusion::PredictionType;
use crate::denoise::process::Process;
use crate::error::{Error, Result};
use crate::graph::footprint::check_addresses;
use crate::graph::op::Graph;
use crate::graph::{CompileOptions, Target};
use crate::nets::architecture::CallSize;
use crate::report::columns::{Lines, binary_bytes, thousands};

/// Conditions per image of a pipeline: the one to follow and the one to move away from.
const CONDITIONS: usize = 2;

/// A model with the graph of one call of each of its networks, before a target is chosen.
#[derive(Clone, Debug)]
pub struct Outline<'a> {
    model: &'a Model,
    images: usize,
    size: Size,
    networks: Networks<'a>,
}

#[derive(Clone, Debug)]
enum Networks<'a> {
    /// A network of pixels.
    One(&'a NetworkModel, Arc<Graph>),
    /// The components of a pipeline.
    Components(&'a LatentModel, Vec<Component<'a>>),
}

/// One call of one component.
#[derive(Clone, Debug)]
struct Component<'a> {
    name: &'static str,
    class: &'a str,
    weights: &'a Weights,
    /// The arguments of the call, in words.
    arguments: String,
    graph: Arc<Graph>,
}

/// The facts about a model and the costs of its calls. Its text is one line per fact.
#[derive(Clone, Debug)]
pub struct Description {
    lines: Lines,
    /// The plan of each call as text: output, kernel and operands of each dispatch.
    pub plans: String,
    /// The facts as data, by section of a report: `model` and `call`, and for networks `config` and `scheduler`.
    pub sections: Vec<(&'static str, Value)>,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.fmt(f)
    }
}

impl Model {
    /// Outlines one call for `images` images of a size in pixels, by default that of the training. The components of a
    /// pipeline are outlined one by one.
    ///
    /// # Errors
    /// [`Error::Argument`] for a closed form, for a size that the model does not take, and without a size where the
    /// model does not have one; [`Error::OverLimit`] for more images than kernels can address.
    pub fn outline(&self, images: usize, size: Option<Size>) -> Result<Outline<'_>> {
        let network = self.expect_network()?;
        let (size, networks) = match self.kind() {
            Kind::Latent(latent) => {
                let size = network_size(latent, size)?;
                (size, Networks::Components(latent, components(latent, images, size)?))
            }
            Kind::Network(_) | Kind::ClosedForm(_) => {
                let size = network.size(size)?;
                (size, Networks::One(network, network.graph(network.call(images, size))?))
            }
        };
        match &networks {
            Networks::One(_, graph) => check_addresses(graph)?,
            Networks::Components(_, all) => all.iter().try_for_each(|one| check_addresses(&one.graph))?,
        }
        Ok(Outline { model: self, images, size, networks })
    }
}

/// The size of a pipeline's images in pixels.
fn network_size(latent: &LatentModel, asked: Option<Size>) -> Result<Size> {
    let size = asked.or(latent.trained_size()).ok_or_else(|| {
        let what = format!("`{}` does not say how large its images are", latent.network.name);
        Error::argument(what, "give `size`: height and width")
    })?;
    latent.expect_size(size)?;
    Ok(size)
}

fn components<'a>(latent: &'a LatentModel, images: usize, size: Size) -> Result<Vec<Component<'a>>> {
    let network = &latent.network;
    let [channels, height, width] = latent.latent_shape(size);
    let (conditions, with) =
        if network.net.embeds_guidance() { (1, "and the scale of guidance") } else { (CONDITIONS, "and without") };
    let call = CallSize::images(conditions * images, (height, width)).with_tokens(latent.tokens());
    let graph = network.graph(call)?;
    let latents = format!("{channels} x {height} x {width}");
    let autoencoder = |name, arguments, graph| Component {
        name,
        class: latent.autoencoder_files.config.class_name().unwrap_or_default(),
        weights: &latent.autoencoder_files.weights,
        arguments,
        graph: Arc::new(graph),
    };
    let (condition, mut components) = match &latent.source {
        Source::Labels => ("class", Vec::new()),
        Source::Text(source) => {
            let encoder = |(at, part): (usize, &'a TextPart)| Component {
                name: part.name,
                class: part.encoder.class_name(),
                weights: &part.files.weights,
                arguments: format!("{conditions} texts of {} tokens", latent.tokens()),
                graph: Arc::new(part.encoder.graph_of(conditions, source.readout(at, 0))),
            };
            ("prompt", source.parts.iter().enumerate().map(encoder).collect())
        }
    };
    components.push(Component {
        name: latent.component,
        class: network.net.class_name(),
        weights: &network.weights,
        arguments: format!("{images} x {latents}, with the {condition} {with}"),
        graph,
    });
    let (decoder, encoder) = (latent.autoencoder.decoder(1, (height, width))?, latent.autoencoder.encoder(1, size)?);
    components.push(autoencoder("vae decoder", format!("{latents} to {} x {}", size.0, size.1), decoder));
    components.push(autoencoder("vae encoder", format!("{} x {} to {latents}", size.0, size.1), encoder));
    Ok(components)
}

impl Outline<'_> {
    /// Plans the calls for a target and describes them.
    #[must_use]
    pub fn describe(&self, target: &Target, options: &CompileOptions) -> Description {
        match &self.networks {
            Networks::One(network, graph) => self.of_network(network, graph, target, *options),
            Networks::Components(latent, components) => self.of_components(latent, components, target, *options),
        }
    }

    fn of_network(
        &self,
        network: &NetworkModel,
        graph: &Graph,
        target: &Target,
        options: CompileOptions,
    ) -> Description {
        let call = Call::of(graph, target, &options);
        let ((height, width), family) = (self.size, family_text(target.family));
        let mut lines = Lines::default();
        network_lines(&mut lines, network);
        lines.add("one call", format!("{} x {height} x {width}, {family}", self.images));
        let gflop = call.flops as f64 / 1e9;
        lines.add("  operations", format!("{gflop:.3} GFLOP in {} dispatches", call.plan.steps.len()));
        lines.add("  algorithms", &call.algorithms);
        let footprint = &call.footprint;
        let (weights, stored) = (binary_bytes(footprint.weights), binary_bytes(network.weights.bytes()));
        let (dtype, more) = (footprint.dtype, binary_bytes(call.transformed_bytes));
        let laid_out = format!("{weights} in {dtype} as laid out, {more} of it by transformed kernels");
        lines.add("  weights", format!("{laid_out}; {stored} in the file"));
        let least = binary_bytes(footprint.lower_bound);
        lines.add("  values", format!("{}, at least {least}", binary_bytes(footprint.arena)));
        let over_least = footprint.over_least(footprint.allocated);
        let peak = binary_bytes(footprint.allocated);
        lines.add("  peak", format!("{peak}, {over_least:.3} x (weights + least values)"));
        let about = json!({
            "batch": self.images, "height": height, "width": width, "family": family,
            "gflop": gflop, "dispatches": call.plan.steps.len(), "memory": footprint_json(footprint, None),
            "algorithms": algorithms_json(&call.algorithms), "transformed_bytes": call.transformed_bytes,
        });
        let config = Value::Object(network.config.values.clone());
        let scheduler = network.scheduler_file.as_ref().map(|file| Value::Object(file.values.clone()));
        let model = model_json(self.model);
        Description {
            lines,
            plans: call.plan.to_string(),
            sections: vec![("model", model), ("config", config), ("scheduler", scheduler.into()), ("call", about)],
        }
    }

    fn of_components(
        &self,
        latent: &LatentModel,
        components: &[Component],
        target: &Target,
        options: CompileOptions,
    ) -> Description {
        let ((height, width), family) = (self.size, family_text(target.family));
        let mut lines = Lines::default();
        pipeline_lines(&mut lines, latent, self.size);
        lines.add("kernels", &family);
        let (mut plans, mut calls) = (Vec::new(), Map::new());
        for component in components {
            let call = Call::of(&component.graph, target, &options);
            calls.insert(component.name.replace(' ', "_"), component_lines(&mut lines, component, &call));
            plans.push(format!("{}\n{}", component.name, call.plan));
        }
        let call = json!({
            "batch": self.images, "height": height, "width": width, "family": family, "components": calls,
        });
        let sections = vec![("model", model_json(self.model)), ("call", call)];
        Description { lines, plans: plans.join("\n"), sections }
    }
}

fn network_lines(lines: &mut Lines, network: &NetworkModel) {
    let (net, weights) = (&network.net, &network.weights);
    lines.add("model", &network.name);
    lines.add("class", net.class_name());
    origin_lines(lines, weights);
    let trained = net.sample_size().map_or("any size".to_owned(), |(height, width)| format!("{height} x {width}"));
    let multiple = net.size_multiple();
    lines.add("images", format!("{} channels, {trained}; sides are multiples of {multiple}", net.in_channels()));
    lines.add("output", format!("{} channels, {}", net.out_channels(), predicted(network, "image")));
    for (heading, text) in net.details() {
        lines.add(heading, text);
    }
    lines.add("parameters", stored(weights));
    noise_lines(lines, network);
}

fn pipeline_lines(lines: &mut Lines, latent: &LatentModel, size: Size) {
    let network = &latent.network;
    lines.add("model", &network.name);
    lines.add("class", latent.class.as_deref().unwrap_or("none"));
    origin_lines(lines, &network.weights);
    let (height, width) = latent.trained_size().unwrap_or(size);
    lines.add("images", format!("{height} x {width}; sides are multiples of {}", latent.factor()));
    lines.add("output", predicted(network, "latents"));
    if latent.is_inpainting() {
        lines.add("fills in", "parts of an image: the network takes latents, a mask, and the latents of what is kept");
    }
    if !network.classes.is_empty() {
        lines.add("classes", format!("{} with names", network.classes.len()));
    }
    noise_lines(lines, network);
}

/// Adds the family and the layout of a single file.
fn origin_lines(lines: &mut Lines, weights: &Weights) {
    if let Some(origin) = weights.origin() {
        lines.add("family", &origin.family);
        lines.add("layout", origin.layout);
    }
}

fn noise_lines(lines: &mut Lines, network: &NetworkModel) {
    lines.add("scheduler", network.scheduler.class_name.as_deref().unwrap_or("none, diffusers' defaults"));
    let (least, most) = (network.table.sigma_min(), network.table.sigma_max());
    lines.add("noise", format!("{} timesteps, sigma {least:.4} to {most:.4}", network.table.timesteps()));
}

/// Adds the lines of a component, and returns its call for a report.
fn component_lines(lines: &mut Lines, component: &Component, call: &Call) -> Value {
    let footprint = &call.footprint;
    let gflop = call.flops as f64 / 1e9;
    lines.add(component.name, component.class);
    lines.add("  parameters", stored(component.weights));
    let dispatches = call.plan.steps.len();
    lines.add("  one call", format!("{}: {gflop:.1} GFLOP in {dispatches} dispatches", component.arguments));
    lines.add("  weights", format!("{} in {} as laid out", binary_bytes(footprint.weights), footprint.dtype));
    lines.add("  values", binary_bytes(footprint.arena));
    lines.add("  peak", binary_bytes(footprint.allocated));
    json!({ "gflop": gflop, "dispatches": dispatches, "memory": footprint_json(footprint, None) })
}

/// Number, types and bytes of the weights of a file, in words.
pub(super) fn stored(weights: &Weights) -> String {
    let dtype = |name| weights.dtype(name).map(|dtype| dtype.to_string());
    let mut dtypes: Vec<String> = weights.names().filter_map(dtype).collect();
    dtypes.sort();
    dtypes.dedup();
    let (parameters, bytes) = (thousands(weights.parameters()), binary_bytes(weights.bytes()));
    format!("{parameters} in {}, {bytes}", dtypes.join(" and "))
}

/// The quantity that a network predicts, in words; `clean` is the name of x0.
fn predicted(network: &NetworkModel, clean: &str) -> String {
    match (network.table.process(), network.scheduler.prediction_type) {
        (Process::Score, _) => return format!("the score, -eps / sigma, of {clean} from 0 to 1"),
        (Process::Consistency { .. }, _) => return format!("the {clean} at the end of a path: a consistency model"),
        (Process::Edm { .. }, PredictionType::Epsilon) => {
            return "F of Karras et al.: x0 is c_skip x + c_out F".to_owned();
        }
        _ => {}
    }
    match network.scheduler.prediction_type {
        PredictionType::Epsilon => "the noise eps".to_owned(),
        PredictionType::Sample => format!("the {clean} x0"),
        PredictionType::VPrediction => "the velocity v".to_owned(),
        PredictionType::FlowPrediction => "the velocity of a flow".to_owned(),
    }
}
