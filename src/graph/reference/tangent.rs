//! Tangents in float64 by their definitions, each image with the image of the values that it belongs to.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, TAU};

use super::{Array, activate, group_norm, modulate};
use crate::graph::op::{Activation, HeadSide, Heads};
use crate::tensor::Shape;

/// The argument of the hyperbolic tangent in [`Activation::GeluTanh`].
pub(super) fn gelu_angle(x: f64) -> f64 {
    FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)
}

/// The derivative of an activation; that of `ReLU` is 0 at 0.
pub(super) fn slope(activation: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Silu => sigmoid * (1.0 + x * (1.0 - sigmoid)),
        Activation::Mish => {
            let tanh = (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh();
            tanh + x * (1.0 - tanh * tanh) * sigmoid
        }
        Activation::Gelu => 0.5 * libm::erfc(-x * FRAC_1_SQRT_2) + x * (-0.5 * x * x).exp() / TAU.sqrt(),
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::QuickGelu => {
            let sigmoid = 1.0 / (1.0 + (-1.702 * x).exp());
            sigmoid * (1.0 + 1.702 * x * (1.0 - sigmoid))
        }
        Activation::GeluTanh => {
            let tanh = gelu_angle(x).tanh();
            let angle_slope = FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * angle_slope
        }
    }
}

/// `act'(x) * tangent`.
pub(in crate::graph) fn activation(x: &Array, tangent: &Array, activation: Activation) -> Array {
    let mut y = tangent.clone();
    let images = y.data.chunks_mut(x.shape.pixels() * x.shape.c).enumerate();
    for (image, tangents) in images {
        let values = x.image(image / (tangent.shape.n / x.shape.n));
        tangents.iter_mut().zip(values).for_each(|(tangent, x)| *tangent *= slope(activation, *x));
    }
    y
}

/// The tangent of `first half * act(second half)`, each half padded to whole texels; the result has `shape`.
pub(in crate::graph) fn gate(x: &Array, tangent: &Array, shape: Shape, then: Activation) -> Array {
    let (half, repeats) = (x.shape.c / 2, tangent.shape.n / x.shape.n);
    let mut y = Array::zeros(shape);
    for (row, sums) in y.data.chunks_mut(shape.c).enumerate() {
        let image = row / shape.pixels() / repeats;
        let (values, turned) = (x.row(image * shape.pixels() + row % shape.pixels()), tangent.row(row));
        for (at, sum) in sums.iter_mut().enumerate() {
            let gate = values[half + at];
            *sum = turned[at] * activate(then, gate) + values[at] * slope(then, gate) * turned[half + at];
        }
    }
    y
}

/// The tangent of a softmax over the channels, from its result.
pub(in crate::graph) fn softmax(shares: &Array, tangent: &Array) -> Array {
    let (pixels, repeats) = (shares.shape.pixels(), tangent.shape.n / shares.shape.n);
    let mut y = tangent.clone();
    for (row, turned) in y.data.chunks_mut(shares.shape.c).enumerate() {
        let shares = shares.row(row / pixels / repeats * pixels + row % pixels);
        let mean: f64 = shares.iter().zip(&*turned).map(|(share, turn)| share * turn).sum();
        turned.iter_mut().zip(shares).for_each(|(turn, share)| *turn = share * (*turn - mean));
    }
    y
}

/// The tangent of a normalisation with what follows it: of `x / deviation(x)`, both less their means, by the quotient
/// rule.
pub(in crate::graph) fn normalisation(
    x: &Array,
    tangent: &Array,
    affine: &(Vec<f64>, Vec<f64>),
    (groups, eps): (usize, f64),
    modulation: Option<&Array>,
    then: Option<Activation>,
) -> Array {
    let channels = x.shape.c;
    let mut y = tangent.clone();
    for (image, turned) in y.data.chunks_mut(x.shape.pixels() * channels).enumerate() {
        let values = x.image(image / (tangent.shape.n / x.shape.n));
        for group in 0..groups {
            let members: Vec<usize> =
                (0..values.len()).filter(|at| at % channels / (channels / groups) == group).collect();
            let mean = |of: &dyn Fn(usize) -> f64| members.iter().map(|at| of(*at)).sum::<f64>() / members.len() as f64;
            let (centre, drift) = (mean(&|at| values[at]), mean(&|at| turned[at]));
            let variance = mean(&|at| (values[at] - centre).powi(2)) + eps;
            let together = mean(&|at| (values[at] - centre) * (turned[at] - drift));
            for at in &members {
                let (apart, turn) = (values[*at] - centre, turned[*at] - drift);
                turned[*at] = (turn - apart * together / variance) / variance.sqrt() * affine.0[at % channels];
            }
        }
    }
    let mut before = group_norm(x, affine, groups, eps);
    if let Some(modulation) = modulation {
        modulate(&mut before, modulation);
        let repeats = tangent.shape.n / x.shape.n * x.shape.pixels();
        for (row, pixel) in y.data.chunks_mut(channels).enumerate() {
            let scale = &modulation.row(row / repeats)[..channels];
            pixel.iter_mut().zip(scale).for_each(|(tangent, scale)| *tangent *= 1.0 + scale);
        }
    }
    match then {
        Some(then) => activation(&before, &y, then),
        None => y,
    }
}

/// The tangent of layer normalisation, by the quotient rule for each pixel.
pub(in crate::graph) fn layer_norm(x: &Array, tangent: &Array, weight: &[f64], eps: f64) -> Array {
    let (pixels, repeats) = (x.shape.pixels(), tangent.shape.n / x.shape.n);
    let mut y = tangent.clone();
    for (row, turned) in y.data.chunks_mut(x.shape.c).enumerate() {
        let values = x.row(row / pixels / repeats * pixels + row % pixels);
        let mean = |of: &dyn Fn(usize) -> f64| (0..values.len()).map(of).sum::<f64>() / values.len() as f64;
        let (centre, drift) = (mean(&|at| values[at]), mean(&|at| turned[at]));
        let variance = mean(&|at| (values[at] - centre).powi(2)) + eps;
        let together = mean(&|at| (values[at] - centre) * (turned[at] - drift));
        for ((turn, value), weight) in turned.iter_mut().zip(values).zip(weight) {
            *turn = (*turn - drift - (value - centre) * together / variance) / variance.sqrt() * weight;
        }
    }
    y
}

/// The tangent of attention by the product rule: each part is a map and its first channel.
pub(in crate::graph) fn attention(
    [q, k, v]: [(&Array, usize); 3],
    tangents: [Option<(&Array, usize)>; 3],
    (heads, dim): (usize, usize),
    scale: f64,
    shape: Shape,
) -> Array {
    let padded = Heads { count: heads, dim, side: HeadSide::Out }.padded_dim();
    let mut answer = Array::zeros(shape);
    let (queries, keys, repeats) = (q.0.shape.pixels(), k.0.shape.pixels(), shape.n / q.0.shape.n);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (row, head) in (0..shape.rows()).flat_map(|row| (0..heads).map(move |head| (row, head))) {
        let (image, query) = (row / queries, row % queries);
        let of = |(map, first): (&Array, usize), row| map.row(row)[first + head * padded..][..dim].to_vec();
        let of_value = |part, length, at| of(part, image / repeats * length + at);
        let of_tangent =
            |part: Option<_>, length, at| part.map_or(vec![0.0; dim], |part| of(part, image * length + at));
        let (q, dq) = (of_value(q, queries, query), of_tangent(tangents[0], queries, query));
        let (mut scores, mut turns) = (Vec::new(), Vec::new());
        for key in 0..keys {
            let (k, dk) = (of_value(k, keys, key), of_tangent(tangents[1], keys, key));
            scores.push(scale * dot(&q, &k));
            turns.push(scale * (dot(&dq, &k) + dot(&q, &dk)));
        }
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp() / total).collect();
        let mean = dot(&shares, &turns);
        let result = &mut answer.data[row * shape.c + head * padded..][..dim];
        for key in 0..keys {
            let (v, dv) = (of_value(v, keys, key), of_tangent(tangents[2], keys, key));
            let moved = shares[key] * (turns[key] - mean);
            result.iter_mut().zip(v.iter().zip(&dv)).for_each(|(sum, (v, dv))| *sum += moved * v + shares[key] * dv);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::super::apply;
    use super::*;

    #[test]
    fn slopes_are_those_of_the_activations() {
        let at = |x: f64| Array { shape: Shape::vector(1, 1), data: vec![x] };
        for then in Activation::ALL {
            for x in [-30.0, -2.5, -0.3, 0.2, 1.7, 25.0] {
                let value = |x: f64| apply(at(x), Some(then)).data[0];
                let difference = (value(x + 1e-5) - value(x - 1e-5)) / 2e-5;
                assert!((slope(then, x) - difference).abs() < 1e-9, "{then:?} at {x}");
            }
        }
    }
}
