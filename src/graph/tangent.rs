//! Tangents of a graph: a graph that computes, beside its values, how they change with one of its inputs (forward-mode
//! differentiation; Griewank and Walther, Evaluating Derivatives, chapter 3). One run is an exact product of the Jacobian and a
//! vector, for a whole block of vectors at once.
//!
//! | operation | its tangent |
//! |---|---|
//! | convolution, sum, joined, upsampled, averaged maps, combination | itself on the tangents, without what is constant |
//! | group normalisation, activation | an operation that reads value and tangent |
//! | attention | the product rule around the softmax's tangent |
//!
//! The tangents have `repeats` images for each image of the values, one after the other: values are computed once and shared.
//! A value that does not depend on the input has no tangent, and costs nothing.

use super::fuse::fuse;
use super::op::{Epilogue, Graph, Op, Value};
use crate::error::{Error, Result};
use crate::tensor::Shape;

/// The name under which the tangent of an input is fed and that of an output is read.
#[must_use]
pub fn tangent_name(name: &str) -> String {
    format!("tangent of {name}")
}

/// The graph with the tangents of its outputs as further outputs, for `repeats` tangents of `input` for each of its images, fed
/// as another input; named by [`tangent_name`].
///
/// # Errors
/// [`Error::Argument`] when there is no such input, an output does not depend on it, or an operation's dependence on it has no
/// rule: that of a time embedding and of what modulates a normalisation; layer normalisation and causal attention.
pub fn tangents(graph: &Graph, input: &str, repeats: usize) -> Result<Graph> {
    // Fused first: an activation that rides on its normalisation is differentiated with it.
    let graph = fuse(graph);
    let mut transform =
        Transform { repeats: repeats.max(1), made: Graph::default(), values: Vec::new(), tangents: Vec::new() };
    transform.made.weights.clone_from(&graph.weights);
    for node in &graph.nodes {
        let mut op = node.op.clone();
        op.for_each_read(|value| *value = transform.values[value.0]);
        let reads = node.op.reads();
        let moves = reads.iter().any(|value| transform.tangents[value.0].is_some());
        let here = At { op: &node.op, moved: op, shape: node.shape, label: &node.label };
        let (value, tangent) = match &node.op {
            Op::Input { name } if name == input => transform.seed(&here, name),
            _ if moves => transform.rule(&here)?,
            _ => (transform.copy(&here), None),
        };
        transform.values.push(value);
        transform.tangents.push(tangent);
    }
    let is_there = graph.nodes.iter().any(|node| matches!(&node.op, Op::Input { name } if name == input));
    if !is_there {
        return Err(Error::argument(format!("the network has no input `{input}`"), "name one of its inputs"));
    }
    for (name, value) in &graph.outputs {
        let Some(tangent) = transform.tangents[value.0] else {
            let what = format!("output `{name}` does not depend on input `{input}`");
            return Err(Error::argument(what, "name another input"));
        };
        transform.made.outputs.push((name.clone(), transform.values[value.0]));
        transform.made.outputs.push((tangent_name(name), tangent));
    }
    Ok(transform.made)
}

struct Transform {
    repeats: usize,
    made: Graph,
    /// Where each value of the graph is in the one made.
    values: Vec<Value>,
    /// Where its tangent is, if it has one.
    tangents: Vec<Option<Value>>,
}

/// A node under differentiation.
struct At<'a> {
    /// Its operation, on the values of the graph given.
    op: &'a Op,
    /// The same on the values of the graph made.
    moved: Op,
    shape: Shape,
    label: &'a str,
}

impl Transform {
    fn tangent(&self, value: Value) -> Option<Value> {
        self.tangents[value.0]
    }

    fn part_tangent(&self, (value, channel): (Value, usize)) -> Option<(Value, usize)> {
        self.tangent(value).map(|tangent| (tangent, channel))
    }

    fn copy(&mut self, at: &At) -> Value {
        self.made.push(at.moved.clone(), at.shape, at.label)
    }

    /// Adds an operation on tangents.
    fn push(&mut self, op: Op, at: &At) -> Value {
        let shape = Shape { n: at.shape.n * self.repeats, ..at.shape };
        self.made.push(op, shape, tangent_name(at.label))
    }

    /// A tangent times a number.
    fn scaled(&mut self, tangent: Value, scale: f32, at: &At) -> Value {
        if scale == 1.0 {
            return tangent;
        }
        self.push(Op::Add { a: tangent, b: tangent, scale: 0.5 * scale }, at)
    }

    fn seed(&mut self, at: &At, name: &str) -> (Value, Option<Value>) {
        let value = self.copy(at);
        let tangent = self.push(Op::Input { name: tangent_name(name) }, at);
        (value, Some(tangent))
    }

    /// The value of a node of which something that it reads has a tangent, and its own tangent.
    fn rule(&mut self, at: &At) -> Result<(Value, Option<Value>)> {
        if let Op::Conv { epilogue, .. } = at.op {
            return self.conv(at, epilogue);
        }
        let value = self.copy(at);
        let tangent = match at.op {
            Op::Activation { x, activation } => {
                let (x, tangent) = (self.values[x.0], self.tangent(*x).ok_or_else(|| no_rule(at))?);
                Op::ActivationTangent { x, tangent, activation: *activation }
            }
            Op::GroupNorm { x, modulation, weight, bias, groups, eps, activation } => {
                let tangent = self.tangent(*x).ok_or_else(|| no_rule(at))?;
                if modulation.is_some_and(|(value, _)| self.tangent(value).is_some()) {
                    return Err(no_rule(at));
                }
                let modulation = modulation.map(|(value, channel)| (self.values[value.0], channel));
                let (x, weight, bias) = (self.values[x.0], *weight, *bias);
                let (groups, eps, activation) = (*groups, *eps, *activation);
                Op::GroupNormTangent { x, tangent, weight, bias, groups, eps, modulation, activation }
            }
            Op::Add { a, b, scale } => match (self.tangent(*a), self.tangent(*b)) {
                (Some(a), Some(b)) => Op::Add { a, b, scale: *scale },
                (Some(only), None) => return Ok((value, Some(self.scaled(only, *scale, at)))),
                (None, Some(only)) if self.made.shape(only).pixels() == at.shape.pixels() => {
                    return Ok((value, Some(self.scaled(only, *scale, at))));
                }
                _ => return Err(no_rule(at)),
            },
            Op::Concat { parts } => {
                let parts = parts.iter().map(|part| self.tangent(*part)).collect::<Option<_>>();
                Op::Concat { parts: parts.ok_or_else(|| no_rule(at))? }
            }
            Op::UpsampleNearest { x } => Op::UpsampleNearest { x: self.tangent(*x).ok_or_else(|| no_rule(at))? },
            Op::AveragePool { x } => Op::AveragePool { x: self.tangent(*x).ok_or_else(|| no_rule(at))? },
            Op::Combine { coefficients, terms, clip: None, .. } if self.tangent(*coefficients).is_none() => {
                let terms = terms.iter().map(|term| self.tangent(*term)).collect::<Option<_>>();
                let (coefficients, terms) = (self.values[coefficients.0], terms.ok_or_else(|| no_rule(at))?);
                Op::Combine { coefficients, terms, clip: None, offset: 0.0 }
            }
            Op::Attention { q, k, v, heads, head_dim, scale, causal: false } => {
                let tangents = [*q, *k, *v].map(|part| self.part_tangent(part));
                let [q, k, v] = [*q, *k, *v].map(|(value, channel)| (self.values[value.0], channel));
                Op::AttentionTangent { q, k, v, tangents, heads: *heads, head_dim: *head_dim, scale: *scale }
            }
            _ => return Err(no_rule(at)),
        };
        Ok((value, Some(self.push(tangent, at))))
    }

    /// A convolution and what follows it: `(act(x * w + bias + per_image) + residual) * scale`.
    fn conv(&mut self, at: &At, epilogue: &Epilogue) -> Result<(Value, Option<Value>)> {
        let (Op::Conv { x, weight, stride, pad, .. }, Op::Conv { x: x_moved, epilogue: moved, .. }) =
            (at.op, &at.moved)
        else {
            return Err(no_rule(at));
        };
        let residual = epilogue.residual.and_then(|value| self.tangent(value));
        let per_image = epilogue.per_image.and_then(|part| self.part_tangent(part));
        let Some(x_tangent) = self.tangent(*x) else {
            // Only what is added after the product changes.
            return match (per_image, residual) {
                (None, Some(residual)) => {
                    let value = self.copy(at);
                    Ok((value, Some(self.scaled(residual, epilogue.scale, at))))
                }
                _ => Err(no_rule(at)),
            };
        };
        let conv = |x: Value, epilogue: Epilogue| Op::Conv { x, weight: *weight, stride: *stride, pad: *pad, epilogue };
        let Some(activation) = epilogue.activation else {
            let value = self.copy(at);
            let tangent = Epilogue { bias: None, per_image, activation: None, residual, scale: epilogue.scale };
            return Ok((value, Some(self.push(conv(x_tangent, tangent), at))));
        };
        // The activation's slope is taken at what it is applied to, so that value has to exist.
        let before = Epilogue { activation: None, residual: None, scale: 1.0, ..moved.clone() };
        let before = self.made.push(conv(*x_moved, before), at.shape, at.label);
        let activated = self.made.push(Op::Activation { x: before, activation }, at.shape, at.label);
        let value = match moved.residual {
            Some(b) => self.made.push(Op::Add { a: activated, b, scale: moved.scale }, at.shape, at.label),
            None if moved.scale == 1.0 => activated,
            None => {
                let scaled = Op::Add { a: activated, b: activated, scale: 0.5 * moved.scale };
                self.made.push(scaled, at.shape, at.label)
            }
        };
        let product = self.push(conv(x_tangent, Epilogue { per_image, ..Epilogue::default() }), at);
        let tangent = self.push(Op::ActivationTangent { x: before, tangent: product, activation }, at);
        let tangent = match residual {
            Some(b) => self.push(Op::Add { a: tangent, b, scale: epilogue.scale }, at),
            None => self.scaled(tangent, epilogue.scale, at),
        };
        Ok((value, Some(tangent)))
    }
}

fn no_rule(at: &At) -> Error {
    let what = format!("`{}` depends on the input in a way that tangents are not computed for", at.label);
    Error::argument(what, "differentiate with respect to the image")
}
