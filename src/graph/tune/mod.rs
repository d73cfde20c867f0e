//! The tuner: each layer of a network for which there is a choice, measured by every algorithm that the device has
//! kernels for.
//!
//! A layer is measured as in a U-Net, behind a normalisation with `SiLU`, since an algorithm may take that over. Layers
//! with weights in float16 are measured with these, by the algorithms that round them little.
//! Then `tiles` measures the products by every tile.

mod race;
mod tiles;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};
use web_time::Instant;

pub use tiles::{
    Measurement as TileMeasurement, Subject as TileSubject, table as tile_table, tune_tiles, unknown_products,
    unknown_products_of,
};

use self::race::{Contender, race};
use super::choose::distinct_layers;
use super::op::{Activation, Conv2d, Epilogue, Graph, GroupNorm, Input, Weight, WeightForm, WeightSource};
use super::{CompileOptions, Compiler};
use crate::error::{Error, Result};
use crate::kernels::choice::{Algorithm, Layer};
use crate::kernels::{Engine, Family};
use crate::report::columns::aligned;
use crate::tensor::{Precision, Shape, Tensor};

/// A layer with less than this share of all work is left to the prior.
const LEAST_SHARE: f64 = 0.005;
/// The share of the time of an algorithm that one with larger weights may take to be chosen over it.
const MARGIN: f64 = 0.95;
/// The largest distance between the results of two algorithms, max |a - b| / max |b|: far beyond rounding, that of
/// weights in float16 included.
const fn tolerance(weights: Precision) -> f32 {
    match weights {
        Precision::Float32 => 1e-4,
        Precision::Float16 => 5e-3,
    }
}

/// A layer of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The properties that decide.
    pub layer: Layer,
    /// The number of times it occurs in the network.
    pub count: usize,
}

/// The times of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The layer.
    pub subject: Subject,
    /// Seconds per call by each algorithm; `None` if the device does not have the memory for it, or its result is
    /// wrong.
    pub seconds: Vec<(Algorithm, Option<f64>)>,
    /// The one to use.
    pub chosen: Algorithm,
}

/// The algorithms to measure for weights of a precision, in the order of the memory of their weights.
#[must_use]
pub fn candidates(family: Family, weights: Precision) -> Vec<Algorithm> {
    let is_precise = |algorithm: &Algorithm| match weights {
        Precision::Float32 => true,
        Precision::Float16 => *algorithm == algorithm.with_small_tiles(),
    };
    Algorithm::of_family(family).into_iter().filter(is_precise).collect()
}

/// The layers of several graphs that are worth measuring and not in `known`: those of the first graph first, and of
/// each graph those with the most work.
#[must_use]
pub fn unknown_layers_of<'g>(
    graphs: impl IntoIterator<Item = &'g Graph>,
    known: &BTreeMap<Layer, Algorithm>,
) -> Vec<Subject> {
    let mut all: Vec<Subject> = Vec::new();
    for subject in graphs.into_iter().flat_map(|graph| unknown_layers(graph, known)) {
        match all.iter_mut().find(|other| other.layer == subject.layer) {
            Some(same) => same.count += subject.count,
            None => all.push(subject),
        }
    }
    all
}

/// The layers of `graph` that are worth measuring and not in `known`, those with the most work first.
#[must_use]
pub fn unknown_layers(graph: &Graph, known: &BTreeMap<Layer, Algorithm>) -> Vec<Subject> {
    let layers = distinct_layers(graph);
    let work = |layer: Layer, count: usize| layer.flops() as f64 * count as f64;
    let all: f64 = layers.iter().map(|(layer, count)| work(*layer, *count)).sum();
    let mut unknown: Vec<Subject> = layers
        .into_iter()
        .filter(|(layer, count)| !known.contains_key(layer) && work(*layer, *count) >= LEAST_SHARE * all)
        .map(|(layer, count)| Subject { layer, count })
        .collect();
    unknown.sort_by_key(|subject| Reverse(subject.layer.flops() * subject.count as u64));
    unknown
}

/// Measures `subjects` in their order with `batch` images and weights of a precision, until `budget` is spent or
/// `done`, which is called after each, breaks off.
///
/// # Errors
/// [`Error::Device`] when the device fails.
pub fn tune(
    engine: &Engine,
    weights: Precision,
    subjects: &[Subject],
    batch: usize,
    budget: Duration,
    mut done: impl FnMut() -> ControlFlow<()>,
) -> Result<Vec<Measurement>> {
    let begin = Instant::now();
    let mut measurements = Vec::new();
    for subject in subjects.iter().take_while(|_| begin.elapsed() < budget) {
        measurements.push(measure(engine, weights, *subject, batch)?);
        if done().is_break() {
            break;
        }
    }
    Ok(measurements)
}

/// Returns a table with a line for each layer: its number of uses in the network, milliseconds by each algorithm, and
/// the chosen one. It is empty without measurements.
#[must_use]
pub fn table(measured: &[Measurement], algorithms: &[Algorithm]) -> String {
    if measured.is_empty() {
        return String::new();
    }
    let milliseconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.3}", s * 1e3));
    let headings = algorithms.iter().map(|algorithm| format!("{algorithm} ms"));
    let headings = ["layer".to_owned(), "uses".to_owned()].into_iter().chain(headings).chain(["chosen".to_owned()]);
    let rows = measured.iter().map(|one| {
        let seconds = one.seconds.iter().map(|(_, seconds)| milliseconds(*seconds));
        let first = [one.subject.layer.to_string(), one.subject.count.to_string()];
        first.into_iter().chain(seconds).chain([one.chosen.to_string()]).collect::<Vec<_>>()
    });
    aligned(&std::iter::once(headings.collect()).chain(rows).collect::<Vec<_>>())
}

impl Measurement {
    /// Returns the measurement for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        let seconds: serde_json::Map<_, _> =
            self.seconds.iter().map(|(algorithm, seconds)| (algorithm.to_string(), json!(seconds))).collect();
        json!({
            "layer": self.subject.layer,
            "uses": self.subject.count,
            "seconds": seconds,
            "chosen": self.chosen.to_string(),
        })
    }
}

fn measure(engine: &Engine, weights: Precision, subject: Subject, batch: usize) -> Result<Measurement> {
    let graph = layer_graph(subject.layer, batch);
    let Layer { input, size: (h, w), .. } = subject.layer;
    let x = Tensor::new([batch, input, h, w], numbers(batch * input * h * w));
    let algorithms = candidates(engine.family, weights);
    let mut contenders = Vec::new();
    let mut wanted = None;
    for algorithm in algorithms.iter().copied() {
        let options = CompileOptions { weights, ..CompileOptions::forced(algorithm) }.without_aliasing();
        let program = match Compiler::new(engine, options).program(&graph, &fetch) {
            Err(Error::OverLimit { .. } | Error::TooManyWorkgroups { .. } | Error::OutOfMemory { .. }) => continue,
            other => other?,
        };
        let answer = program.run(&[("x", &x)])?.remove(0);
        // The definition comes first; a driver that miscompiles another algorithm is found out here.
        if !agree(&answer, wanted.get_or_insert_with(|| answer.clone()), tolerance(weights)) {
            continue;
        }
        contenders.push(Contender::new(algorithm, move |times| program.repeat(times))?);
    }
    race(&mut contenders)?;
    let seconds_of = |algorithm| contenders.iter().find(|one| one.is == algorithm).map(|contender| contender.least);
    let seconds: Vec<_> = algorithms.into_iter().map(|algorithm| (algorithm, seconds_of(algorithm))).collect();
    Ok(Measurement { subject, chosen: choose(&seconds), seconds })
}

fn agree(a: &Tensor, b: &Tensor, tolerance: f32) -> bool {
    let largest = b.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() <= tolerance * largest)
}

/// The fastest of algorithms in the order of their memory, where an algorithm with more memory has to be faster by
/// [`MARGIN`].
fn choose(seconds: &[(Algorithm, Option<f64>)]) -> Algorithm {
    let timed = seconds.iter().filter_map(|(algorithm, seconds)| Some((*algorithm, (*seconds)?)));
    timed
        .reduce(|chosen, next| if next.1 < MARGIN * chosen.1 { next } else { chosen })
        .map_or(Algorithm::Direct, |(algorithm, _)| algorithm)
}

/// Normalisation, `SiLU`, the convolution with a bias.
fn layer_graph(layer: Layer, batch: usize) -> Graph {
    let Layer { input, out, size: (h, w) } = layer;
    let mut graph = Graph::default();
    let weight = |graph: &mut Graph, name: &str, form| {
        let source = WeightSource::Checkpoint(vec![name.to_owned()]);
        graph.weight(Weight { name: name.to_owned(), source, form })
    };
    let vector = |len| WeightForm::Vector { len, heads: None };
    let scale = weight(&mut graph, "scale", vector(input));
    let offset = weight(&mut graph, "offset", vector(input));
    let kernel = weight(&mut graph, "kernel", WeightForm::Kernel { out, input, height: 3, width: 3, heads: None });
    let bias = weight(&mut graph, "bias", vector(out));
    let from = Shape::new(batch, h, w, input);
    let x = graph.push(Input { name: "x".to_owned() }, from, "x");
    let groups = (1..=32).rev().find(|groups| input % groups == 0).unwrap_or(1);
    let activation = Some(Activation::Silu);
    let norm = GroupNorm { x, weight: scale, bias: offset, groups, eps: 1e-6, modulation: None, activation };
    let normalised = graph.push(norm, from, "normalisation");
    let epilogue = Epilogue { bias: Some(bias), ..Epilogue::default() };
    let conv = Conv2d { x: normalised, weight: kernel, stride: 1, pad: (1, 1), epilogue };
    let y = graph.push(conv, Shape::new(batch, h, w, out), "convolution");
    graph.outputs.push(("y".to_owned(), y));
    graph
}

/// Weights of any shape.
#[expect(clippy::unnecessary_wraps, reason = "weights of a checkpoint can be missing")]
fn fetch(_: &str, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::new(shape.to_vec(), numbers(shape.iter().product())))
}

/// Numbers between -1 and 1 without a short period.
fn numbers(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::winograd::Tile;

    #[test]
    fn memory_has_to_pay() {
        let [direct, two, four] = [Algorithm::Direct, Algorithm::Winograd(Tile::Two), Algorithm::Winograd(Tile::Four)];
        assert_eq!(choose(&[(direct, Some(1.0)), (two, Some(0.96)), (four, Some(0.97))]), direct);
        assert_eq!(choose(&[(direct, Some(1.0)), (two, Some(0.90)), (four, Some(0.88))]), two);
        assert_eq!(choose(&[(direct, Some(1.0)), (two, None), (four, Some(0.5))]), four);
        assert_eq!(choose(&[(direct, None), (two, Some(2.0)), (four, None)]), two);
        assert_eq!(choose(&[]), direct);
    }

    #[test]
    fn weights_in_float16_are_transformed_by_small_tiles_alone() {
        let lanes = candidates(Family::Lanes { width: 8 }, Precision::Float16);
        assert_eq!(lanes, [Algorithm::Direct, Algorithm::WinogradRows(Tile::Two), Algorithm::Winograd(Tile::Two)]);
        assert_eq!(candidates(Family::Tile, Precision::Float16), [Algorithm::Direct, Algorithm::Winograd(Tile::Two)]);
        assert_eq!(candidates(Family::Tile, Precision::Float32), Algorithm::of_family(Family::Tile));
    }

    #[test]
    fn the_layers_of_several_graphs_are_each_measured_once() {
        let [small, large, other] = [(16, 8), (16, 32), (24, 64)]
            .map(|(channels, side)| layer_graph(Layer { input: channels, out: channels, size: (side, side) }, 1));
        let found = |graphs: &[&Graph]| {
            let found = unknown_layers_of(graphs.iter().copied(), &BTreeMap::new());
            found.into_iter().map(|Subject { layer, count }| (layer.size.0, count)).collect::<Vec<_>>()
        };
        assert_eq!(found(&[&small, &large, &small, &other]), [(8, 2), (32, 1), (64, 1)]);
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn what_is_known_or_small_is_not_measured_and_large_layers_come_first() {
        let mut graph = layer_graph(Layer { input: 64, out: 64, size: (16, 16) }, 1);
        for (input, out, side) in [(64, 128, 16), (64, 64, 16), (32, 32, 16), (4, 4, 8)] {
            let other = layer_graph(Layer { input, out, size: (side, side) }, 1);
            let (values, weights) = (graph.nodes.len(), graph.weights.len());
            for mut node in other.nodes {
                node.op.for_each_read(|value| value.0 += values);
                node.op.for_each_weight(|id| id.0 += weights);
                graph.nodes.push(node);
            }
            graph.weights.extend(other.weights);
            graph.outputs.push(("y".to_owned(), crate::graph::op::Value(graph.nodes.len() - 1)));
        }
        let known = [(Layer { input: 32, out: 32, size: (16, 16) }, Algorithm::Direct)].into();
        let found = unknown_layers(&graph, &known).into_iter().map(|Subject { layer, count }| (layer.out, count));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        assert_eq!(found, [(64, 2), (128, 1)]);
        assert_eq!(unknown_layers(&graph, &BTreeMap::new()).len(), 3);
    }
}
