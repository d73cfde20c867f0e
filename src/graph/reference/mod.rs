//! The definition of a graph, in float64 on the host: the operators evaluate themselves, one after the other
//! ([`super::op::Operator::evaluate`]), with the functions here.
//!
//! Slow, and only for tests: the oracle that fused graphs, plans, kernels and their twins are compared with.

pub(super) mod adjoint;
pub(super) mod attention;
pub(super) mod tangent;

use std::f64::consts::FRAC_1_SQRT_2;

use super::WeightAccess;
use super::adjoint::transposed;
use super::op::{Activation, Graph, HeadSide, Heads, Value, WeightForm, WeightId, WeightSource};
use super::weights::in_order;
use crate::error::{Error, Result};
use crate::tensor::{Shape, Tensor};

/// A map in float64: NHWC, channels not padded.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its extents.
    pub shape: Shape,
    /// The values, row-major.
    pub data: Vec<f64>,
}

impl Array {
    /// A map of zeros.
    #[must_use]
    pub fn zeros(shape: Shape) -> Self {
        Self { shape, data: vec![0.0; shape.rows() * shape.c] }
    }

    /// The values as (n, c, h, w).
    #[must_use]
    pub fn to_nchw(&self) -> Vec<f64> {
        let Shape { n, c, .. } = self.shape;
        let pixels = self.shape.pixels();
        let mut values = Vec::with_capacity(self.data.len());
        for image in 0..n {
            for channel in 0..c {
                values.extend((0..pixels).map(|pixel| self.data[(image * pixels + pixel) * c + channel]));
            }
        }
        values
    }

    /// A map from a tensor (n, c, h, w) of this shape.
    fn from_nchw(tensor: &Tensor, shape: Shape) -> Self {
        let pixels = shape.pixels();
        let mut array = Self::zeros(shape);
        for (row, texel) in array.data.chunks_mut(shape.c).enumerate() {
            let (image, pixel) = (row / pixels, row % pixels);
            for (channel, value) in texel.iter_mut().enumerate() {
                *value = f64::from(tensor.data[(image * shape.c + channel) * pixels + pixel]);
            }
        }
        array
    }

    /// Channels `first..first + count` of every pixel.
    pub(super) fn channels(&self, first: usize, count: usize) -> Self {
        let data = self.data.chunks(self.shape.c).flat_map(|pixel| pixel[first..first + count].iter().copied());
        Self { shape: Shape { c: count, ..self.shape }, data: data.collect() }
    }

    /// The channels of a pixel, counted over the whole batch.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.shape.c..][..self.shape.c]
    }

    /// The values of an image.
    pub(super) fn image(&self, image: usize) -> &[f64] {
        let len = self.shape.pixels() * self.shape.c;
        &self.data[image * len..][..len]
    }

    /// The channels of the pixel at (image, y, x), or `None` outside of the map.
    pub(super) fn pixel(&self, image: usize, y: Option<usize>, x: Option<usize>) -> Option<&[f64]> {
        let (y, x) = (y.filter(|y| *y < self.shape.h)?, x.filter(|x| *x < self.shape.w)?);
        Some(self.row((image * self.shape.h + y) * self.shape.w + x))
    }
}

/// Evaluates `graph` on `inputs`, each (n, c, h, w), and returns its outputs by name.
///
/// # Errors
/// [`Error::Argument`] for an input that is missing or of another shape; those of `weights`.
pub fn evaluate(graph: &Graph, inputs: &[(String, Tensor)], weights: &WeightAccess) -> Result<Vec<(String, Array)>> {
    let mut evaluation = Evaluation { graph, inputs, weights, values: Vec::with_capacity(graph.nodes.len()) };
    for node in &graph.nodes {
        let value = node.op.operator().evaluate(node.shape, &evaluation)?;
        assert_eq!(value.data.len(), node.shape.rows() * node.shape.c, "{}", node.label);
        evaluation.values.push(value);
    }
    let output = |(name, value): &(String, Value)| (name.clone(), evaluation.values[value.0].clone());
    Ok(graph.outputs.iter().map(output).collect())
}

/// A graph under evaluation, with the values of the nodes so far.
pub struct Evaluation<'a> {
    graph: &'a Graph,
    inputs: &'a [(String, Tensor)],
    weights: &'a WeightAccess<'a>,
    values: Vec<Array>,
}

impl Evaluation<'_> {
    /// The value of a node that is evaluated already.
    #[must_use]
    pub fn value(&self, value: Value) -> &Array {
        &self.values[value.0]
    }

    /// The value of a range of channels and its first channel.
    #[must_use]
    pub fn part(&self, (value, first): (Value, usize)) -> (&Array, usize) {
        (self.value(value), first)
    }

    /// The tensor that is fed under a name.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is missing or has another shape.
    pub fn input(&self, name: &str, shape: Shape) -> Result<Array> {
        let Some((_, tensor)) = self.inputs.iter().find(|(input, _)| input == name) else {
            return Err(Error::argument(format!("input `{name}` is missing"), "feed every input of the graph"));
        };
        let expected = [shape.n, shape.c, shape.h, shape.w];
        if tensor.shape != expected {
            let what = format!("input `{name}` has shape {:?}, expected {expected:?}", tensor.shape);
            return Err(Error::argument(what, "feed the shape that the graph was built for"));
        }
        Ok(Array::from_nchw(tensor, shape))
    }

    /// A kernel, heads padded.
    ///
    /// # Errors
    /// Those of the checkpoint; [`Error::BadFile`] if the weight is a vector.
    pub fn kernel(&self, id: WeightId) -> Result<Kernel> {
        let weight = &self.graph.weights[id.0];
        let WeightForm::Kernel { out, input, height, width, heads } = weight.form else {
            return Err(not_of_form(&weight.name, "kernel"));
        };
        let values = self.numbers(&weight.source, &[out, input, height, width])?;
        let out_places = head_places(out, heads.filter(|heads| heads.side == HeadSide::Out));
        let in_places = head_places(input, heads.filter(|heads| heads.side == HeadSide::In));
        let mut kernel = Kernel { out: out_places.1, input: in_places.1, height, width, data: Vec::new() };
        kernel.data = vec![0.0; kernel.out * kernel.input * height * width];
        for (index, value) in values.into_iter().enumerate() {
            let (channels, tap) = (index / (height * width), index % (height * width));
            let (to, from) = (out_places.0[channels / input], in_places.0[channels % input]);
            kernel.data[(tap * kernel.input + from) * kernel.out + to] = value;
        }
        Ok(kernel)
    }

    /// A vector over the channels of a map, heads padded.
    ///
    /// # Errors
    /// Those of the checkpoint; [`Error::BadFile`] if the weight is a kernel.
    pub fn vector(&self, id: WeightId) -> Result<Vec<f64>> {
        let weight = &self.graph.weights[id.0];
        let WeightForm::Vector { len, heads } = weight.form else {
            return Err(not_of_form(&weight.name, "vector"));
        };
        let (places, padded) = head_places(len, heads);
        let mut vector = vec![0.0; padded];
        for (place, value) in places.into_iter().zip(self.numbers(&weight.source, &[len])?) {
            vector[place] = value;
        }
        Ok(vector)
    }

    /// The numbers of a weight, its parts stacked along the first dimension of `shape`.
    fn numbers(&self, source: &WeightSource, shape: &[usize]) -> Result<Vec<f64>> {
        let keys = match source {
            WeightSource::Constant(values) => return Ok(values.iter().copied().map(f64::from).collect()),
            WeightSource::Stack(weights) => {
                let parts = weights.iter().map(|weight| self.numbers(&weight.source, &stored_shape(weight.form)));
                return Ok(parts.collect::<Result<Vec<_>>>()?.concat());
            }
            WeightSource::Rows { key, order } => {
                let numbers = self.numbers(&WeightSource::Checkpoint(vec![key.clone()]), shape)?;
                return Ok(in_order(&numbers, order));
            }
            WeightSource::Transposed(weight) => {
                let WeightForm::Kernel { out, input, height, width, .. } = weight.form else {
                    return Err(not_of_form(&weight.name, "kernel"));
                };
                let numbers = self.numbers(&weight.source, &stored_shape(weight.form))?;
                return Ok(transposed(&numbers, (out, input), height * width));
            }
            WeightSource::Checkpoint(keys) => keys,
        };
        let mut part = shape.to_vec();
        part[0] /= keys.len();
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for key in keys {
            let tensor = (self.weights)(key, &part)?;
            if tensor.data.len() != part.iter().product::<usize>() {
                let (key, found, expected) = (key.clone(), tensor.shape, part);
                return Err(Error::WrongShape { file: "weights".into(), key, found, expected });
            }
            numbers.extend(tensor.data.into_iter().map(f64::from));
        }
        Ok(numbers)
    }
}

/// A kernel as (height, width, in, out), heads padded.
pub struct Kernel {
    out: usize,
    input: usize,
    height: usize,
    width: usize,
    data: Vec<f64>,
}

fn not_of_form(name: &str, form: &str) -> Error {
    Error::bad_file("graph", format!("weight `{name}` is read as a {form} and is none"))
}

/// The place of each channel once heads are padded, and the number of padded channels.
fn head_places(len: usize, heads: Option<Heads>) -> (Vec<usize>, usize) {
    match heads {
        None => ((0..len).collect(), len),
        Some(heads) => {
            let place = |channel| channel / heads.dim * heads.padded_dim() + channel % heads.dim;
            ((0..len).map(place).collect(), heads.count * heads.padded_dim())
        }
    }
}

/// A map from the channels of each of its pixels (image, y, x).
pub(super) fn from_pixels(shape: Shape, mut pixel: impl FnMut(usize, usize, usize) -> Vec<f64>) -> Array {
    let mut array = Array { shape, data: Vec::with_capacity(shape.rows() * shape.c) };
    for row in 0..shape.rows() {
        let (image, place) = (row / shape.pixels(), row % shape.pixels());
        array.data.extend(pixel(image, place / shape.w, place % shape.w));
    }
    array
}

pub(super) fn convolve(x: &Array, kernel: &Kernel, stride: usize, (top, left): (usize, usize), shape: Shape) -> Array {
    from_pixels(shape, |image, row, column| {
        let mut sums = vec![0.0; kernel.out];
        for tap in 0..kernel.height * kernel.width {
            let y = (row * stride + tap / kernel.width).checked_sub(top);
            let place = (column * stride + tap % kernel.width).checked_sub(left);
            let Some(pixel) = x.pixel(image, y, place) else { continue };
            let rows = kernel.data[tap * kernel.input * kernel.out..].chunks(kernel.out);
            for (value, weights) in pixel.iter().zip(rows) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
            }
        }
        sums
    })
}

pub(super) fn group_norm(x: &Array, (weight, bias): &(Vec<f64>, Vec<f64>), groups: usize, eps: f64) -> Array {
    let channels = x.shape.c;
    let mut y = x.clone();
    for image in y.data.chunks_mut(x.shape.pixels() * channels) {
        for group in 0..groups {
            let range = group * (channels / groups)..(group + 1) * (channels / groups);
            let members = || image.chunks(channels).flat_map(|pixel| &pixel[range.clone()]);
            let count = members().count() as f64;
            let mean = members().sum::<f64>() / count;
            let variance = members().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let scale = (variance + eps).sqrt().recip();
            for pixel in image.chunks_mut(channels) {
                for channel in range.clone() {
                    pixel[channel] = (pixel[channel] - mean) * scale * weight[channel] + bias[channel];
                }
            }
        }
    }
    y
}

pub(super) fn layer_norm(x: &Array, (weight, bias): &(Vec<f64>, Vec<f64>), eps: f64) -> Array {
    let mut y = x.clone();
    for pixel in y.data.chunks_mut(x.shape.c) {
        let count = pixel.len() as f64;
        let mean = pixel.iter().sum::<f64>() / count;
        let variance = pixel.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let scale = (variance + eps).sqrt().recip();
        for ((value, weight), bias) in pixel.iter_mut().zip(weight).zip(bias) {
            *value = (*value - mean) * scale * weight + bias;
        }
    }
    y
}

/// The shape of a weight as a checkpoint holds it.
fn stored_shape(form: WeightForm) -> Vec<usize> {
    match form {
        WeightForm::Kernel { out, input, height, width, .. } => vec![out, input, height, width],
        WeightForm::Vector { len, .. } => vec![len],
    }
}

/// `x * (1 + m[..c]) + m[c..]` with the vector m of each image.
pub(super) fn modulate(x: &mut Array, modulation: &Array) {
    let (channels, pixels) = (x.shape.c, x.shape.pixels());
    for (row, pixel) in x.data.chunks_mut(channels).enumerate() {
        let (scale, shift) = modulation.row(row / pixels).split_at(channels);
        for ((value, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
            *value = *value * (1.0 + scale) + shift;
        }
    }
}

/// A multiply-add for each channel of an image, by the two pixels of its factors.
pub(super) fn affine(x: &mut Array, factors: &Array) {
    let (channels, pixels) = (x.shape.c, x.shape.pixels());
    for (row, pixel) in x.data.chunks_mut(channels).enumerate() {
        let (a, b) = factors.image(row / pixels).split_at(channels);
        for ((value, a), b) in pixel.iter_mut().zip(a).zip(b) {
            *value = *value * a + b;
        }
    }
}

/// Adds a map of the same shape, or one vector per image.
pub(super) fn add(x: &mut Array, other: &Array) {
    let pixels = x.shape.rows() / other.shape.rows();
    for (row, pixel) in x.data.chunks_mut(x.shape.c).enumerate() {
        pixel.iter_mut().zip(other.row(row / pixels)).for_each(|(value, other)| *value += other);
    }
}

pub(super) fn scaled(mut x: Array, scale: f32) -> Array {
    x.data.iter_mut().for_each(|value| *value *= f64::from(scale));
    x
}

pub(super) fn apply(mut x: Array, activation: Option<Activation>) -> Array {
    if let Some(activation) = activation {
        x.data.iter_mut().for_each(|value| *value = activate(activation, *value));
    }
    x
}

pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Mish => x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        Activation::Gelu => x * 0.5 * libm::erfc(-x * FRAC_1_SQRT_2),
        Activation::Relu => x.max(0.0),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::GeluTanh => x * 0.5 * (1.0 + tangent::gelu_angle(x).tanh()),
    }
}
