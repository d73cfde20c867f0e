//! A graph cut into stages that can be computed a strip of rows at a time, so that no map has to fit the device as a
//! whole.
//!
//! A convolution needs the rows around its own, so strips overlap: rows near an edge are computed twice. A group
//! normalisation needs the mean and the variance of the whole map, so every map that is normalised ends a stage: it
//! is put together from strips, its statistics are taken, and the next stages apply them as factors ([`Affine`]). The
//! strips of a stage agree with the whole to rounding, whatever their height; there is nothing to blend.
//!
//! The part before the first stage is the head: it runs as a whole and contains every attention, which needs all
//! pixels at once.

use std::collections::BTreeMap;

use super::op::{Affine, Graph, GroupNorm, Input, Node, Op, Value, WeightId};
use crate::tensor::Shape;

/// A normalisation whose statistics a stage is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// The map that is normalised.
    pub x: Value,
    pub weight: WeightId,
    pub bias: WeightId,
    pub groups: usize,
    pub eps: f32,
}

/// A part of the graph that computes one map from maps that are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The map it ends in.
    pub target: Value,
    /// The maps that it reads, all of one height.
    pub maps: Vec<Value>,
    /// The normalisations within.
    pub norms: Vec<Norm>,
    /// Rows of the target for each row of the maps.
    pub factor: usize,
    /// Rows of the target that are wrong at an edge of a strip inside the map.
    pub margin: usize,
    /// Its nodes but for the maps, in order.
    nodes: Vec<usize>,
}

/// A strip of the maps that a stage reads, and the rows of the target that it yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    /// The first row of the maps.
    pub first: usize,
    /// The rows of the target that come from it.
    pub rows: std::ops::Range<usize>,
}

/// A graph cut in two, its second part into stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut<'g> {
    graph: &'g Graph,
    /// The map that the head computes and the first stage reads.
    pub first: Value,
    /// In order; the last one ends in the graph's output.
    pub stages: Vec<Stage>,
}

/// The name under which a stage is fed a map.
#[must_use]
pub fn map_name(map: Value) -> String {
    format!("map {}", map.0)
}

/// The name under which a stage is fed the factors of a map's normalisation.
#[must_use]
pub fn factors_name(norm: &Norm) -> String {
    format!("factors {}.{}", norm.x.0, norm.weight.0)
}

/// Every way to cut a graph, longest head first; empty for a graph whose last maps cannot be computed in strips. Only
/// the first output counts.
#[must_use]
pub fn cuts(graph: &Graph) -> Vec<Cut<'_>> {
    let mut normalised: Vec<Value> = graph.nodes.iter().filter_map(|node| norm_of(node).map(|norm| norm.x)).collect();
    normalised.sort();
    normalised.dedup();
    let Some((_, output)) = graph.outputs.first() else { return Vec::new() };
    let cut = |start: usize| {
        let known = &normalised[start..];
        let targets = known[1..].iter().chain([output]);
        let stages = targets.map(|target| Stage::ending_in(graph, *target, known)).collect::<Option<_>>()?;
        Some(Cut { graph, first: known[0], stages })
    };
    (0..normalised.len()).rev().filter_map(cut).collect()
}

impl Cut<'_> {
    /// The graph of the head: its output is [`Cut::first`].
    #[must_use]
    pub fn head(&self) -> Graph {
        Graph { outputs: vec![(map_name(self.first), self.first)], ..self.graph.clone() }
    }

    /// The shape of a map.
    #[must_use]
    pub fn shape(&self, map: Value) -> Shape {
        self.graph.shape(map)
    }

    /// The graph of a stage on strips of `rows` rows of its maps: inputs are named by [`map_name`] and
    /// [`factors_name`], the output is the target's strip.
    #[must_use]
    pub fn strip_graph(&self, stage: &Stage, rows: usize) -> Graph {
        let mut made = Graph { weights: self.graph.weights.clone(), ..Graph::default() };
        let mut moved: BTreeMap<Value, Value> = BTreeMap::new();
        let whole = stage.maps.first().map_or(1, |map| self.shape(*map).h);
        for map in &stage.maps {
            let shape = Shape { h: rows, ..self.shape(*map) };
            moved.insert(*map, made.push(Input { name: map_name(*map) }, shape, &self.graph.nodes[map.0].label));
        }
        for at in &stage.nodes {
            let node = &self.graph.nodes[*at];
            let op = if let Some(norm) = norm_of(node) {
                let shape = Shape::new(node.shape.n, 1, 2, node.shape.c);
                let factors = made.push(Input { name: factors_name(&norm) }, shape, &node.label);
                Affine { x: moved[&norm.x], factors, activation: None }.into()
            } else {
                let mut op = node.op.clone();
                op.for_each_read(|value| *value = moved[value]);
                op
            };
            let shape = Shape { h: node.shape.h / whole * rows, ..node.shape };
            moved.insert(Value(*at), made.push(op, shape, &node.label));
        }
        made.outputs.push((map_name(stage.target), moved[&stage.target]));
        made
    }
}

impl Stage {
    /// The stage that computes `target` from what is `known`; `None` if it needs more than that, or contains an
    /// operator that reads more than a few rows around its own.
    fn ending_in(graph: &Graph, target: Value, known: &[Value]) -> Option<Self> {
        let (mut maps, mut norms, mut nodes, mut open) = (Vec::new(), Vec::new(), Vec::new(), vec![target]);
        while let Some(value) = open.pop() {
            if value != target && known.contains(&value) {
                maps.push(value);
                continue;
            }
            let node = &graph.nodes[value.0];
            // Values of the head, and other inputs.
            if value < known[0] || matches!(node.op, Op::Input(_)) {
                return None;
            }
            norms.extend(norm_of(node));
            open.extend(node.op.reads());
            nodes.push(value.0);
        }
        nodes.sort_unstable();
        nodes.dedup();
        maps.sort();
        maps.dedup();
        norms.sort_by_key(|norm| norm.weight);
        norms.dedup_by_key(|norm| norm.weight);
        let height = graph.shape(*maps.first()?).h;
        if maps.iter().any(|map| graph.shape(*map).h != height) {
            return None;
        }
        let mut margins: BTreeMap<Value, usize> = maps.iter().map(|map| (*map, 0)).collect();
        for at in &nodes {
            let margin = graph.nodes[*at].op.operator().margin(&graph.at(Value(*at)), &margins)?;
            margins.insert(Value(*at), margin);
        }
        let rows = graph.shape(target).h;
        if !rows.is_multiple_of(height) {
            return None;
        }
        Some(Self { target, maps, norms, factor: rows / height, margin: margins[&target], nodes })
    }

    /// Rows of the maps that a strip loses at an edge.
    #[must_use]
    pub fn overlap(&self) -> usize {
        self.margin.div_ceil(self.factor)
    }

    /// The fewest rows of a strip that leaves something of maps of `height` rows.
    #[must_use]
    pub fn least_rows(&self, height: usize) -> usize {
        (2 * self.overlap() + 1).min(height)
    }

    /// Strips of `rows` rows (at least [`Stage::least_rows`]) that cover maps of `height` rows. All have one size:
    /// the last lies at the lower edge, however much it overlaps the one before.
    #[must_use]
    pub fn strips(&self, height: usize, rows: usize) -> Vec<Strip> {
        let rows = rows.clamp(self.least_rows(height), height);
        let (mut strips, mut done, mut first) = (Vec::new(), 0, 0);
        loop {
            let end = first + rows;
            let good = if end < height { end * self.factor - self.margin } else { height * self.factor };
            strips.push(Strip { first, rows: done..good });
            done = good;
            if end >= height {
                return strips;
            }
            first = (end - 2 * self.overlap()).min(height - rows);
        }
    }
}

/// A normalisation that can be given its statistics.
fn norm_of(node: &Node) -> Option<Norm> {
    let Op::GroupNorm(GroupNorm { x, weight, bias, groups, eps, modulation: None, activation: None }) = node.op else {
        return None;
    };
    Some(Norm { x, weight, bias, groups, eps })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(factor: usize, margin: usize) -> Stage {
        Stage { target: Value(1), maps: vec![Value(0)], norms: Vec::new(), factor, margin, nodes: Vec::new() }
    }

    #[test]
    fn strips_cover_every_row_once_and_are_right_where_they_are_used() {
        for (factor, margin) in [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)] {
            let stage = stage(factor, margin);
            for height in 1..24 {
                for rows in 1..=height + 1 {
                    let strips = stage.strips(height, rows);
                    let rows = rows.clamp(stage.least_rows(height), height);
                    let mut next = 0;
                    for Strip { first, rows: good } in strips {
                        assert!(first + rows <= height);
                        assert!(good.start == next && good.end > next, "{factor} {margin} {height} {rows}");
                        next = good.end;
                        let upper = if first == 0 { 0 } else { first * factor + margin };
                        let lower = (first + rows) * factor - if first + rows == height { 0 } else { margin };
                        assert!(upper <= good.start && good.end <= lower, "{factor} {margin} {height} {rows}");
                    }
                    assert_eq!(next, height * factor);
                }
            }
        }
    }
}
