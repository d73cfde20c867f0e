//! Decoding in strips: a decoder whose maps are too large for the device is computed a strip of rows at a time
//! ([`crate::graph::strips`]). The maps stay on the host, NHWC in texels, so that a strip is a contiguous range.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::footprint::fits;
use crate::graph::op::{Graph, Value, WeightId};
use crate::graph::strips::{Cut, Norm, Stage, Strip, cuts, factors_name, map_name};
use crate::graph::weights::packed;
use crate::graph::{CompileOptions, Compiler, Plan, Program, Target, WeightAccess};
use crate::kernels::Engine;
use crate::kernels::choice::Algorithm;
use crate::tensor::{Precision, Shape, TEXEL, Tensor, pack_nchw, unpack_nchw};

/// The choice between whole images and strips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiling {
    /// In strips if a map does not fit the device.
    #[default]
    Auto,
    /// Never in strips: a map that does not fit is an error.
    Never,
    /// Always in strips of about this many rows of each map.
    Rows(usize),
}

/// The device, options and memory that a decoder is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room<'a> {
    /// The target, with the largest storages of the device.
    pub target: Target<'a>,
    /// The options.
    pub options: CompileOptions,
    /// Bytes of all storages together; `None` without a budget.
    pub budget: Option<u64>,
}

impl<'a> Room<'a> {
    /// The room on the device of a compiler, within a budget of bytes.
    #[must_use]
    pub fn new(compiler: Compiler<'a>, budget: Option<u64>) -> Self {
        Self { target: compiler.target(), options: compiler.options, budget }
    }
    /// Plans a graph.
    #[must_use]
    pub fn plan(&self, graph: &Graph) -> Plan {
        Plan::new(graph, &self.target, &self.options)
    }

    /// Returns `true` if the storages of a plan fit the device and the budget.
    #[must_use]
    pub fn holds(&self, plan: &Plan) -> bool {
        fits(plan, self.target.limits, self.budget)
    }
}

/// A graph computed in strips.
#[derive(Clone, Debug, PartialEq)]
pub struct Strips {
    /// The index of the cut among those of the graph, longest head first.
    pub cut: usize,
    /// The number of rows per strip of the maps that each stage reads.
    pub rows: Vec<usize>,
    /// The plans of the head and of each stage. One is on the device at a time.
    pub plans: Vec<Plan>,
}

impl Strips {
    /// Chooses the longest head that fits, and then the fewest strips that do, or strips of about `asked` rows of the
    /// output. Returns `None` if the graph cannot be cut, or nothing fits.
    #[must_use]
    pub fn new(graph: &Graph, asked: Option<usize>, room: &Room) -> Option<Self> {
        let fit = |cut: &Cut| {
            let head = room.plan(&cut.head());
            if !room.holds(&head) || asked.is_some_and(|rows| rows < cut.shape(cut.first).h) {
                return None;
            }
            let (mut rows, mut plans) = (Vec::new(), vec![head]);
            for stage in &cut.stages {
                let (of_stage, plan) = fit_stage(cut, stage, asked, room)?;
                rows.push(of_stage);
                plans.push(plan);
            }
            Some((rows, plans))
        };
        let ways = cuts(graph);
        let found =
            ways.iter().enumerate().find_map(|(cut, way)| fit(way).map(|(rows, plans)| Self { cut, rows, plans }));
        // Even for strips of few rows, the head is as short as possible and is computed whole.
        found.or_else(|| {
            let (cut, way) = ways.iter().enumerate().next_back().filter(|_| asked.is_some())?;
            let head = room.plan(&way.head());
            let stages = way.stages.iter().map(|stage| fit_stage(way, stage, asked, room));
            let (rows, mut plans): (Vec<_>, Vec<_>) = stages.collect::<Option<Vec<_>>>()?.into_iter().unzip();
            plans.insert(0, head);
            Some(Self { cut, rows, plans })
        })
    }

    /// The number of strips of the stage that has the most.
    #[must_use]
    pub fn most_strips(&self, graph: &Graph) -> usize {
        let ways = cuts(graph);
        let stages = ways[self.cut].stages.iter().zip(&self.rows);
        stages.map(|(stage, rows)| stage.strips(graph.shape(stage.maps[0]).h, *rows).len()).max().unwrap_or(1)
    }

    /// Computes the graph's first output for one image, (1, c, h, w), from its only input `name`.
    ///
    /// # Errors
    /// Those of `fetch` and of the device.
    pub fn run(&self, engine: &Engine, graph: &Graph, fetch: &WeightAccess, input: (&str, &Tensor)) -> Result<Tensor> {
        let ways = cuts(graph);
        let cut = &ways[self.cut];
        let mut maps: BTreeMap<Value, Vec<f32>> = BTreeMap::new();
        {
            let head = Program::new(engine, self.plans[0].clone(), fetch)?;
            let shape = head.plan.inputs[0].shape;
            let first = head.run_texels(&[(input.0, &pack_nchw(&input.1.data, shape))])?.remove(0);
            maps.insert(cut.first, first);
        }
        let plans = self.plans[1..].iter();
        for (at, ((stage, rows), plan)) in cut.stages.iter().zip(&self.rows).zip(plans).enumerate() {
            let program = Program::new(engine, plan.clone(), fetch)?;
            let target = run_stage(&program, graph, fetch, (cut, stage, *rows), &maps)?;
            let read_later = |map: &Value| cut.stages[at + 1..].iter().any(|later| later.maps.contains(map));
            maps.retain(|map, _| read_later(map));
            maps.insert(stage.target, target);
        }
        let (_, output) = &graph.outputs[0];
        let shape = graph.shape(*output);
        Ok(Tensor::new([shape.n, shape.c, shape.h, shape.w], unpack_nchw(&maps[output], shape)))
    }
}

/// Returns the number of rows per strip of a stage, and the plan of one strip.
fn fit_stage(cut: &Cut, stage: &Stage, asked: Option<usize>, room: &Room) -> Option<(usize, Plan)> {
    let height = cut.shape(stage.maps[0]).h;
    let least = stage.least_rows(height);
    let planned = |rows: usize| {
        let plan = room.plan(&cut.strip_graph(stage, rows));
        room.holds(&plan).then_some((rows, plan))
    };
    if let Some(asked) = asked {
        return planned((asked / stage.factor).clamp(least, height));
    }
    let mut strips = 1;
    loop {
        // This many strips of one size, including the rows they share.
        let rows = (height + 2 * stage.overlap() * (strips - 1)).div_ceil(strips).clamp(least, height);
        match planned(rows) {
            None if rows > least => strips *= 2,
            answer => return answer,
        }
    }
}

/// Computes the target of a stage.
fn run_stage(
    program: &Program,
    graph: &Graph,
    fetch: &WeightAccess,
    (cut, stage, rows): (&Cut, &Stage, usize),
    maps: &BTreeMap<Value, Vec<f32>>,
) -> Result<Vec<f32>> {
    let height = cut.shape(stage.maps[0]).h;
    let mut factors = Vec::with_capacity(stage.norms.len());
    for norm in &stage.norms {
        let vector = |id: WeightId| {
            packed(&graph.weights[id.0], Algorithm::Direct, Precision::Float32, program.plan.family, fetch)
        };
        let affine = [vector(norm.weight)?, vector(norm.bias)?];
        factors.push((factors_name(norm), normalisation(norm, &maps[&norm.x], cut.shape(norm.x), &affine)));
    }
    let names: Vec<String> = stage.maps.iter().map(|map| map_name(*map)).collect();
    let row_of = |map: Value| cut.shape(map).w * cut.shape(map).c4() * TEXEL;
    let out_row = row_of(stage.target);
    let mut target = on_the_host(cut.shape(stage.target).h * out_row, &graph.nodes[stage.target.0].label)?;
    for Strip { first, rows: good } in stage.strips(height, rows) {
        let strips = stage.maps.iter().zip(&names).map(|(map, name)| {
            let row = row_of(*map);
            (name.as_str(), &maps[map][first * row..(first + rows) * row])
        });
        let known = factors.iter().map(|(name, values)| (name.as_str(), values.as_slice()));
        let made = program.run_texels(&strips.chain(known).collect::<Vec<_>>())?.remove(0);
        let skipped = good.start - first * stage.factor;
        target[good.start * out_row..good.end * out_row]
            .copy_from_slice(&made[skipped * out_row..][..good.len() * out_row]);
    }
    Ok(target)
}

/// Allocates zeros for a map that stays on the host.
fn on_the_host(len: usize, label: &str) -> Result<Vec<f32>> {
    let mut map = Vec::new();
    if map.try_reserve_exact(len).is_err() {
        return Err(Error::OutOfMemory {
            tensor: format!("{label}, on the host"),
            bytes: (len * size_of::<f32>()) as u64,
            hint: "lower the image size".to_owned(),
        });
    }
    map.resize(len, 0.0);
    Ok(map)
}

/// Returns the factors of a normalisation of one image's map: per channel `weight / deviation`, and then the offset.
/// Sums are in float64.
fn normalisation(norm: &Norm, map: &[f32], shape: Shape, [weight, bias]: &[Vec<f32>; 2]) -> Vec<f32> {
    let padded = shape.c4() * TEXEL;
    let mut sums = vec![(0.0f64, 0.0f64); padded];
    for pixel in map.chunks_exact(padded) {
        for ((sum, squares), value) in sums.iter_mut().zip(pixel) {
            let value = f64::from(*value);
            *sum += value;
            *squares += value * value;
        }
    }
    let group_channels = shape.c / norm.groups;
    let count = (shape.pixels() * group_channels) as f64;
    let mut factors = vec![0.0; 2 * padded];
    for (group, sums) in sums[..shape.c].chunks(group_channels).enumerate() {
        let (sum, squares) = sums.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let mean = sum / count;
        let deviation = ((squares / count - mean * mean).max(0.0) + f64::from(norm.eps)).sqrt();
        for channel in group * group_channels..(group + 1) * group_channels {
            let a = f64::from(weight[channel]) / deviation;
            factors[channel] = a as f32;
            factors[padded + channel] = (f64::from(bias[channel]) - mean * a) as f32;
        }
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_normalise_each_group() {
        let shape = Shape::new(1, 2, 3, 6);
        let values: Vec<f32> = (0..36u8).map(|at| f32::from(at % 7) * 0.3 - 1.0).collect();
        let map = pack_nchw(&values, shape);
        let norm = Norm { x: Value(0), weight: WeightId(0), bias: WeightId(1), groups: 2, eps: 1e-6 };
        let (weight, bias) = (vec![2.0; 8], vec![0.25; 8]);
        let factors = normalisation(&norm, &map, shape, &[weight, bias]);
        for group in 0..2 {
            let channels = group * 3..group * 3 + 3;
            let of = |channel: usize| {
                let (a, b) = (factors[channel], factors[8 + channel]);
                values[channel * 6..][..6].iter().map(move |value| f64::from(value * a + b - 0.25) / 2.0)
            };
            let all: Vec<f64> = channels.flat_map(of).collect();
            let mean = all.iter().sum::<f64>() / 18.0;
            let variance = all.iter().map(|value| value * value).sum::<f64>() / 18.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        }
        assert_eq!(factors[6..8], [0.0; 2], "padding");
    }
}
