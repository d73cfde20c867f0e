//! Adjoints of a graph: a graph that computes, beside its values, the gradient of a linear function of one of them with
//! respect to an input (reverse-mode differentiation; Griewank and Walther, Evaluating Derivatives, chapter 3). One run
//! is an exact product of a vector and the Jacobian, whatever the size of the input.
//!
//! | operation | its adjoint |
//! |---|---|
//! | convolution | that by the kernel turned around, channels exchanged; with a stride, of a map with zeros between |
//! | sum, combination, modulation, filter, means, nearest neighbours, sums of pixels | their transposes |
//! | joined maps | ranges of channels |
//! | activation, softmax | their tangents, which are symmetric |
//! | group and layer normalisation | scale and weight, then the tangent of the plain one, which is symmetric |
//! | gate | the product rule |
//! | attention | the softmax's tangent between products with transposed matrices |
//!
//! Of a value that several nodes read, the adjoints are added.

use super::op::{Add, At, Graph, Input, MixTokens, Op, Value, Weight, WeightForm, WeightId, WeightSource};
use crate::error::{Error, Result};
use crate::tensor::Shape;

/// The name of the adjoint of an input or an output.
#[must_use]
pub fn adjoint_name(name: &str) -> String {
    format!("adjoint of {name}")
}

/// The graph with the product of the transposed Jacobian of its one output, with respect to `input`, and a vector,
/// which is another input of the output's shape: both are named by [`adjoint_name`], the vector after the output, the
/// product after the input.
///
/// # Errors
/// As [`pull_back`]; [`Error::Argument`] for a graph of several outputs.
pub fn adjoints(graph: &Graph, input: &str) -> Result<Graph> {
    let [(name, value)] = &graph.outputs[..] else {
        let what = format!("the adjoint of a graph of {} outputs", graph.outputs.len());
        return Err(Error::argument(what, "take a network of one output"));
    };
    let mut with_seed = graph.clone();
    let seed = Input { name: adjoint_name(name) };
    let seed = with_seed.push(seed, graph.shape(*value), adjoint_name(name));
    let (mut made, product) = pull_back(with_seed, (*value, seed), input)?;
    made.outputs.push((adjoint_name(input), product));
    Ok(made)
}

/// Adds the adjoint of the input called `input` to a graph, from the adjoint `seed` of `value`, and returns its place.
///
/// The graph is as networks build it: [`super::fuse`] comes afterwards.
///
/// # Errors
/// [`Error::Argument`] if there is no such input, `value` does not depend on it, or an operator that depends on it has
/// no rule ([`super::op::Operator::adjoint`]).
///
/// # Panics
/// If `seed` does not have the shape of `value`.
pub fn pull_back(graph: Graph, (value, seed): (Value, Value), input: &str) -> Result<(Graph, Value)> {
    assert_eq!(graph.shape(value), graph.shape(seed), "an adjoint has the shape of its value");
    let source = graph.clone();
    let is_input = |op: &Op| matches!(op, Op::Input(op) if op.name == input);
    let mut depends = Vec::with_capacity(source.nodes.len());
    for node in &source.nodes {
        depends.push(is_input(&node.op) || node.op.reads().iter().any(|read| depends[read.0]));
    }
    let mut to = PullBack { graph, adjoints: vec![None; source.nodes.len()], depends };
    to.adjoints[value.0] = Some(seed);
    for index in (0..=value.0).rev() {
        let Some(adjoint) = to.adjoints[index].filter(|_| to.depends[index]) else { continue };
        let at = source.at(Value(index));
        match &source.nodes[index].op {
            op if is_input(op) => return Ok((to.graph, adjoint)),
            op => op.operator().adjoint(&at, adjoint, &mut to)?,
        }
    }
    let what = format!("the value does not depend on an input `{input}`");
    Err(Error::argument(what, "name one of the inputs of the network"))
}

/// A graph of adjoints in the making. The values of the given graph keep their places.
pub struct PullBack {
    graph: Graph,
    /// The adjoint of each value of the given graph, as far as it is known.
    adjoints: Vec<Option<Value>>,
    depends: Vec<bool>,
}

impl PullBack {
    /// Returns `true` if a value depends on the input.
    #[must_use]
    pub fn depends(&self, value: Value) -> bool {
        self.depends[value.0]
    }

    /// Adds an operator on adjoints.
    pub fn push(&mut self, op: impl Into<Op>, shape: Shape, at: &At) -> Value {
        self.graph.push(op, shape, format!("adjoint of {}", at.label))
    }

    /// Adds to the adjoint of a value.
    ///
    /// # Errors
    /// [`no_rule`] if its shape is another one: the value was read for several pixels at once.
    pub fn add(&mut self, value: Value, adjoint: Value, at: &At) -> Result<()> {
        if !self.depends(value) {
            return Ok(());
        }
        if self.graph.shape(value) != self.graph.shape(adjoint) {
            return Err(no_rule(at));
        }
        let sum = match self.adjoints[value.0] {
            None => adjoint,
            Some(before) => self.push(Add { a: before, b: adjoint, scale: 1.0 }, at.of(value), at),
        };
        self.adjoints[value.0] = Some(sum);
        Ok(())
    }

    /// Adds to the adjoint of one vector per image that is read for every pixel, or of a map.
    ///
    /// # Errors
    /// As [`PullBack::add`].
    pub fn add_vector(&mut self, value: Value, adjoint: Value, at: &At) -> Result<()> {
        let (of, shape) = (at.of(value), self.graph.shape(adjoint));
        if !self.depends(value) || of == shape || of != Shape::vector(shape.n, shape.c) {
            return self.add(value, adjoint, at);
        }
        let sums = MixTokens { x: adjoint, factors: vec![1.0; shape.pixels()] };
        let sums = self.push(sums, of, at);
        self.add(value, sums, at)
    }

    /// Adds a weight.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        self.graph.weight(weight)
    }

    /// An adjoint times a number.
    pub fn scaled(&mut self, adjoint: Value, scale: f32, at: &At) -> Value {
        if scale == 1.0 {
            return adjoint;
        }
        let shape = self.graph.shape(adjoint);
        self.push(Add { a: adjoint, b: adjoint, scale: 0.5 * scale }, shape, at)
    }

    /// The kernel of the transposed convolution: turned around, inputs and outputs exchanged. `None` for a vector.
    pub fn transposed(&mut self, weight: WeightId) -> Option<WeightId> {
        let of = self.graph.weights[weight.0].clone();
        let WeightForm::Kernel { out, input, height, width, heads } = of.form else { return None };
        let heads = heads.map(super::op::Heads::turned);
        let form = WeightForm::Kernel { out: input, input: out, height, width, heads };
        let (name, source) = (of.name.clone(), WeightSource::Transposed(Box::new(of)));
        Some(self.graph.weight(Weight { name, source, form }))
    }

    /// A vector of one number.
    pub fn constant(&mut self, value: f32, len: usize) -> WeightId {
        let (source, form) = (WeightSource::Constant(vec![value; len]), WeightForm::Vector { len, heads: None });
        self.graph.weight(Weight { name: format!("{len} numbers of {value}"), source, form })
    }
}

/// The error of an operator without a rule for the operands that depend on the input.
#[must_use]
pub fn no_rule(at: &At) -> Error {
    let what = format!("`{}` depends on the input in a way that gradients are not computed for", at.label);
    Error::argument(what, "differentiate with respect to the image")
}

/// The error of an operator whose adjoint is not computed: those of networks that make no images.
#[must_use]
pub fn no_adjoint(at: &At, operator: &str) -> Error {
    let what = format!("`{}` is {operator}, whose gradient is not computed", at.label);
    Error::argument(what, "differentiate a denoiser; networks of features are run forwards")
}

/// The numbers of a kernel (out, in, height, width) as those of its transpose (in, out, height, width).
pub(super) fn transposed<T: Copy>(values: &[T], (out, input): (usize, usize), taps: usize) -> Vec<T> {
    let mut turned = Vec::with_capacity(values.len());
    for to in 0..input {
        for from in 0..out {
            let kernel = &values[(from * input + to) * taps..][..taps];
            turned.extend(kernel.iter().rev().copied());
        }
    }
    turned
}
