//! Stacking: layers that project one vector per image, each for another block, become one product whose parts the
//! blocks read. A U-Net projects its time embedding once for every residual block; separately, each is a dispatch for
//! a single row.

use std::collections::BTreeMap;

use super::op::{Conv2d, Epilogue, Graph, Op, Value, Weight, WeightForm, WeightId, WeightSource};
use crate::tensor::TEXEL;

/// The graph with such layers stacked; those replaced stay behind unread.
pub(super) fn stack_projections(graph: &Graph) -> Graph {
    let mut stacked = graph.clone();
    // The value that takes the place of each projection, and its first channel there.
    let mut moved: BTreeMap<Value, (Value, usize)> = BTreeMap::new();
    for members in projections(graph).into_values().filter(|members| members.len() > 1) {
        let total = members.iter().map(|member| graph.shape(*member).c).sum();
        let layers: Vec<_> = members.iter().filter_map(|member| layer(graph, *member)).collect();
        let weight = stack(&mut stacked, layers.iter().map(|(weight, _)| *weight), total);
        let bias = stack(&mut stacked, layers.iter().map(|(_, bias)| *bias), total);
        let (Some(weight), Some(bias)) = (weight, bias) else { continue };
        let mut first = 0;
        for &member in &members {
            moved.insert(member, (members[0], first));
            first += graph.shape(member).c;
        }
        let node = &mut stacked.nodes[members[0].0];
        node.shape.c = total;
        node.label = format!("{} and {} more", node.label, members.len() - 1);
        if let Op::Conv2d(conv) = &mut node.op {
            (conv.weight, conv.epilogue.bias) = (weight, Some(bias));
        }
    }
    for node in &mut stacked.nodes {
        if let Some((value, channel)) = node.op.operator_mut().vector_part()
            && let Some((place, first)) = moved.get(value)
        {
            (*value, *channel) = (*place, *first + *channel);
        }
    }
    stacked
}

/// The plain layers whose results are only read as vectors per image, by the value they read.
fn projections(graph: &Graph) -> BTreeMap<Value, Vec<Value>> {
    let mut elsewhere: Vec<bool> = vec![false; graph.nodes.len()];
    for (_, value) in &graph.outputs {
        elsewhere[value.0] = true;
    }
    for node in &graph.nodes {
        let mut op = node.op.clone();
        let vector = op.operator_mut().vector_part().map(|(value, _)| *value);
        for read in node.op.reads().into_iter().filter(|read| Some(*read) != vector) {
            elsewhere[read.0] = true;
        }
    }
    let mut found: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate().filter(|(at, _)| !elsewhere[*at]) {
        if let (Op::Conv2d(conv), Some(_)) = (&node.op, layer(graph, Value(at))) {
            found.entry(conv.x).or_default().push(Value(at));
        }
    }
    found
}

/// Weight and bias of a plain layer on one vector per image whose outputs are whole texels.
fn layer(graph: &Graph, value: Value) -> Option<(WeightId, WeightId)> {
    let node = &graph.nodes[value.0];
    let Op::Conv2d(Conv2d { weight, stride: 1, epilogue, .. }) = &node.op else { return None };
    let bias = epilogue.bias?;
    let plain = *epilogue == Epilogue { bias: Some(bias), ..Epilogue::default() };
    let matrix = matches!(graph.weights[weight.0].form, WeightForm::Kernel { height: 1, width: 1, heads: None, .. });
    let vector = node.shape.pixels() == 1 && node.shape.c.is_multiple_of(TEXEL);
    (plain && matrix && vector).then_some((*weight, bias))
}

/// Adds the stack of `parts` to the graph, `total` outputs in all.
fn stack(graph: &mut Graph, parts: impl Iterator<Item = WeightId>, total: usize) -> Option<WeightId> {
    let parts: Vec<Weight> = parts.map(|id| graph.weights[id.0].clone()).collect();
    let first = parts.first()?;
    let form = match first.form {
        WeightForm::Kernel { input, height, width, heads, .. } => {
            WeightForm::Kernel { out: total, input, height, width, heads }
        }
        WeightForm::Vector { heads, .. } => WeightForm::Vector { len: total, heads },
    };
    Some(graph.weight(Weight { name: first.name.clone(), source: WeightSource::Stack(parts), form }))
}
