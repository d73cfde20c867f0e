//! Tangents of a graph: a graph that computes, beside its values, their derivatives along directions of one input
//! (forward-mode differentiation; Griewank and Walther, Evaluating Derivatives, chapter 3). One run is an exact
//! product of the Jacobian and a vector, for a whole block of vectors at once.
//!
//! | operation | its tangent |
//! |---|---|
//! | convolution, sum, combination; joined, upsampled, averaged maps | itself on the tangents, without constants |
//! | modulation | itself on the tangents of map and shift |
//! | group and layer normalisation, activation | an operator that reads value and tangent |
//! | attention | the product rule around the softmax's tangent |
//!
//! The tangents have `repeats` images for each image of the values, one after the other: values are computed once and
//! shared. A value that does not depend on the input has no tangent, and costs nothing.

use super::fuse::fuse;
use super::op::{Add, At, Graph, Input, Op, OperandMut, Operands, Value};
use crate::error::{Error, Result};
use crate::tensor::Shape;

/// The name of the tangent of an input or an output.
#[must_use]
pub fn tangent_name(name: &str) -> String {
    format!("tangent of {name}")
}

/// The graph with the tangents of its outputs as further outputs, for `repeats` tangents of each image of `input`,
/// which are another input; both are named by [`tangent_name`].
///
/// # Errors
/// [`Error::Argument`] if there is no such input, an output does not depend on it, or an operator that depends on it
/// has no rule ([`super::op::Operator::tangent`]).
pub fn tangents(graph: &Graph, input: &str, repeats: usize) -> Result<Graph> {
    // Fused first: an activation that rides on its normalisation is differentiated with it.
    let graph = fuse(graph);
    let mut transform =
        Transform { repeats: repeats.max(1), made: Graph::default(), values: Vec::new(), tangents: Vec::new() };
    transform.made.weights.clone_from(&graph.weights);
    for (index, node) in graph.nodes.iter().enumerate() {
        let at = graph.at(Value(index));
        let moves = node.op.reads().iter().any(|value| transform.tangent(*value).is_some());
        let (value, tangent) = match &node.op {
            Op::Input(op) if op.name == input => {
                let value = transform.copy(op, &at);
                (value, Some(transform.push(Input { name: tangent_name(&op.name) }, &at)))
            }
            op if moves => {
                let (value, tangent) = op.operator().tangent(&at, &mut transform)?;
                (value, Some(tangent))
            }
            op => (transform.copy(op, &at), None),
        };
        transform.values.push(value);
        transform.tangents.push(tangent);
    }
    let is_there = graph.nodes.iter().any(|node| matches!(&node.op, Op::Input(op) if op.name == input));
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

/// A graph of tangents in the making.
pub struct Transform {
    repeats: usize,
    made: Graph,
    /// The place of each value of the given graph in the one made.
    values: Vec<Value>,
    /// The place of its tangent; `None` if it does not depend on the input.
    tangents: Vec<Option<Value>>,
}

impl Transform {
    /// The place of a value in the graph made.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        self.values[value.0]
    }

    /// The tangent of a value; `None` if it does not depend on the input.
    #[must_use]
    pub fn tangent(&self, value: Value) -> Option<Value> {
        self.tangents[value.0]
    }

    /// The tangent of a value that the rule of `at` is for.
    ///
    /// # Errors
    /// [`no_rule`] if it does not depend on the input.
    pub fn need(&self, value: Value, at: &At) -> Result<Value> {
        self.tangent(value).ok_or_else(|| no_rule(at))
    }

    /// The tangent of a range of channels.
    #[must_use]
    pub fn part_tangent(&self, (value, channel): (Value, usize)) -> Option<(Value, usize)> {
        self.tangent(value).map(|tangent| (tangent, channel))
    }

    /// The same operator on the values of the graph made.
    #[must_use]
    pub fn moved<O: Operands + Clone>(&self, op: &O) -> O {
        let mut op = op.clone();
        op.visit_mut(&mut |operand| match operand {
            OperandMut::Value(value) => *value = self.values[value.0],
            OperandMut::Weight(_) => {}
        });
        op
    }

    /// Adds an operator of the given graph.
    pub fn copy<O: Operands + Clone + Into<Op>>(&mut self, op: &O, at: &At) -> Value {
        let op = self.moved(op);
        self.push_value(op, at)
    }

    /// Adds an operator on values.
    pub fn push_value(&mut self, op: impl Into<Op>, at: &At) -> Value {
        self.made.push(op, at.shape, at.label)
    }

    /// Adds an operator on tangents.
    pub fn push(&mut self, op: impl Into<Op>, at: &At) -> Value {
        let shape = Shape { n: at.shape.n * self.repeats, ..at.shape };
        self.made.push(op, shape, tangent_name(at.label))
    }

    /// A tangent times a number.
    pub fn scaled(&mut self, tangent: Value, scale: f32, at: &At) -> Value {
        if scale == 1.0 {
            return tangent;
        }
        self.push(Add { a: tangent, b: tangent, scale: 0.5 * scale }, at)
    }
}

/// The error of an operator whose tangent is not computed: those of networks that make no images.
#[must_use]
pub fn no_tangent(at: &At, operator: &str) -> Error {
    let what = format!("`{}` is {operator}, whose tangent is not computed", at.label);
    Error::argument(what, "differentiate a denoiser; networks of features are run forwards")
}

/// The error of an operator without a rule for the operands that depend on the input.
#[must_use]
pub fn no_rule(at: &At) -> Error {
    let what = format!("`{}` depends on the input in a way that tangents are not computed for", at.label);
    Error::argument(what, "differentiate with respect to the image")
}
