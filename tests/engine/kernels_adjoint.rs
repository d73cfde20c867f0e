//! Kernels of adjoints: shader against CPU twin over awkward shapes, in both families; twin against the definition, or
//! against the transposed operator by inner products.

use crate::check::{assert_padding_is_zero, check};
use crate::common::{engines, numbers};
use crate::definition::distance_to_definition;
use downhill::kernels::Activation;
use downhill::kernels::channels::Channels;
use downhill::kernels::resample::UpsampleNearest;
use downhill::kernels::spread::{NearestSums, Spread};
use downhill::kernels::tangent::{GateAdjoint, GateTangent};
use downhill::tensor::{Shape, TEXEL, pack_nchw, unpack_nchw};

#[test]
fn ranges_of_channels_agree_with_their_twins_and_the_definition() {
    for engine in engines() {
        for (x, first, count) in [
            (Shape::new(1, 1, 1, 1), 0, 1),
            (Shape::new(2, 3, 5, 12), 4, 8),
            (Shape::new(2, 3, 5, 12), 8, 3),
            (Shape::new(3, 2, 1, 13), 5, 8),
            (Shape::new(1, 4, 3, 11), 3, 7),
            (Shape::new(2, 1, 7, 9), 6, 1),
        ] {
            let what = format!("channels {first} to {} of {x}", first + count);
            let y = Shape { c: count, ..x };
            let values = numbers(1, x.rows() * x.c);
            let range = Channels { from: x.c, first, y };
            let found = check(engine, &range.dispatch(engine.family), &[&pack_nchw(&values, x)], y.texels(), &what);
            assert_padding_is_zero(&found, count, &what);
            let images = values.chunks(x.pixels() * x.c);
            let expected: Vec<f32> =
                images.flat_map(|image| image[first * x.pixels()..][..count * x.pixels()].to_vec()).collect();
            assert_eq!(unpack_nchw(&found, y), expected, "{what}");
        }
    }
}

#[test]
fn spread_pixels_agree_with_their_twins_and_the_definition() {
    for engine in engines() {
        for (x, (h, w), stride, before, skip) in [
            (Shape::new(1, 1, 1, 1), (1, 1), 1, 0, 0),
            (Shape::new(2, 3, 4, 5), (5, 7), 2, 0, 0),
            (Shape::new(2, 3, 4, 5), (6, 9), 2, 0, 0),
            (Shape::new(1, 3, 2, 6), (9, 8), 3, 0, 0),
            (Shape::new(3, 2, 5, 4), (4, 7), 1, 1, 0),
            (Shape::new(2, 8, 6, 3), (5, 4), 1, 0, 2),
            (Shape::new(1, 2, 3, 4), (6, 6), 2, 3, 1),
        ] {
            let what = format!("{x} to {h} x {w}, stride {stride}, {before} before, {skip} left out");
            let y = Shape { h, w, ..x };
            let values = numbers(1, x.rows() * x.c);
            let spread = Spread { x, y, stride, before, skip };
            let found = check(engine, &spread.dispatch(engine.family), &[&pack_nchw(&values, x)], y.texels(), &what);
            let found = unpack_nchw(&found, y);
            for (at, value) in found.iter().enumerate() {
                let (map, i, j) = (at / y.pixels(), at / w % h, at % w);
                let place = |at: usize, count: usize| {
                    (0..count).find(|from| at as isize + skip as isize == before as isize + (stride * from) as isize)
                };
                let expected = match (place(i, x.h), place(j, x.w)) {
                    (Some(row), Some(column)) => values[(map * x.h + row) * x.w + column],
                    _ => 0.0,
                };
                assert_eq!(*value, expected, "{what} at {i}, {j}");
            }
        }
    }
}

#[test]
fn sums_of_neighbours_are_the_transpose_of_nearest_neighbours() {
    for engine in engines() {
        for (small, (h, w)) in [
            (Shape::new(1, 1, 1, 1), (1, 1)),
            (Shape::new(2, 3, 4, 5), (6, 8)),
            (Shape::new(2, 3, 4, 3), (7, 9)),
            (Shape::new(1, 4, 5, 6), (4, 11)),
            (Shape::new(1, 5, 4, 2), (3, 2)),
        ] {
            let what = format!("{small} from {h} x {w}");
            let large = Shape { h, w, ..small };
            let (given, image) = (numbers(1, large.rows() * large.c), numbers(2, small.rows() * small.c));
            let sums = NearestSums { x: large, y: small };
            let found =
                check(engine, &sums.dispatch(engine.family), &[&pack_nchw(&given, large)], small.texels(), &what);
            assert_padding_is_zero(&found, small.c, &what);
            let up = UpsampleNearest { x: small, y: large };
            let up = check(engine, &up.dispatch(engine.family), &[&pack_nchw(&image, small)], large.texels(), &what);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (above, below) = (dot(&unpack_nchw(&up, large), &given), dot(&unpack_nchw(&found, small), &image));
            assert!((above - below).abs() < 1e-5 * given.len() as f64, "{what}: {above} and {below}");
        }
    }
}

fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::Silu => v / (1.0 + (-v).exp()),
        Activation::Mish => v * v.exp().ln_1p().tanh(),
        Activation::Gelu => 0.5 * v * (1.0 + libm::erf(v / 2f64.sqrt())),
        Activation::Relu => v.max(0.0),
        Activation::QuickGelu => v / (1.0 + (-1.702 * v).exp()),
        Activation::GeluTanh => {
            0.5 * v * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (v + 0.044_715 * v.powi(3))).tanh())
        }
    }
}

/// The slope by differences.
fn slope(activation: Activation, v: f64) -> f64 {
    (activate(activation, v + 1e-5) - activate(activation, v - 1e-5)) / 2e-5
}

/// Two maps as the halves of the channels of one, each padded to whole texels.
fn halves(first: &[f32], second: &[f32], shape: Shape) -> Vec<f32> {
    let padded = shape.c4() * TEXEL;
    let [first, second] = [first, second].map(|values| pack_nchw(values, shape));
    first.chunks(padded).zip(second.chunks(padded)).flat_map(|(first, second)| [first, second].concat()).collect()
}

#[test]
fn tangents_of_gates_agree_with_their_twins_and_the_definition() {
    for engine in engines() {
        for (y, repeats, activation) in [
            (Shape::new(1, 1, 1, 1), 1, Activation::Gelu),
            (Shape::new(2, 3, 5, 6), 3, Activation::Gelu),
            (Shape::new(3, 7, 1, 13), 2, Activation::Silu),
            (Shape::new(2, 1, 70, 32), 1, Activation::GeluTanh),
        ] {
            let what = format!("{activation:?}, {repeats} x {y}");
            let many = Shape { n: y.n * repeats, ..y };
            let [hidden, gate] = [1, 2].map(|seed| numbers(seed, y.rows() * y.c));
            let [hidden_tangent, gate_tangent] = [3, 4].map(|seed| numbers(seed, many.rows() * y.c));
            let reads: [&[f32]; 2] = [&halves(&hidden, &gate, y), &halves(&hidden_tangent, &gate_tangent, many)];
            let tangent = GateTangent { shape: many, repeats, activation };
            let found = check(engine, &tangent.dispatch(engine.family), &reads, many.texels(), &what);
            assert_padding_is_zero(&found, y.c, &what);
            let len = y.pixels() * y.c;
            let expected: Vec<f64> = (0..many.rows() * y.c)
                .map(|at| {
                    let of = at / len / repeats * len + at % len;
                    let (a, b) = (f64::from(hidden[of]), f64::from(gate[of]));
                    let (da, db) = (f64::from(hidden_tangent[at]), f64::from(gate_tangent[at]));
                    da * activate(activation, b) + a * slope(activation, b) * db
                })
                .collect();
            assert!(distance_to_definition(&unpack_nchw(&found, many), &expected) < 2e-6, "{what}");
        }
    }
}

#[test]
fn adjoints_of_gates_agree_with_their_twins_and_the_definition() {
    for engine in engines() {
        for (y, activation) in [
            (Shape::new(1, 1, 1, 1), Activation::Gelu),
            (Shape::new(2, 3, 5, 6), Activation::Gelu),
            (Shape::new(3, 7, 1, 13), Activation::Mish),
            (Shape::new(2, 1, 70, 32), Activation::Silu),
        ] {
            let what = format!("{activation:?}, {y}");
            let [hidden, gate, given] = [1, 2, 3].map(|seed| numbers(seed, y.rows() * y.c));
            let reads: [&[f32]; 2] = [&halves(&hidden, &gate, y), &pack_nchw(&given, y)];
            let adjoint = GateAdjoint { shape: y, activation };
            let found = check(engine, &adjoint.dispatch(engine.family), &reads, 2 * y.texels(), &what);
            let padded = y.c4() * TEXEL;
            let half = |which: usize| {
                let of_pixel = |pixel: &[f32]| pixel[which * padded..][..padded].to_vec();
                let texels: Vec<f32> = found.chunks(2 * padded).flat_map(of_pixel).collect();
                assert_padding_is_zero(&texels, y.c, &what);
                unpack_nchw(&texels, y)
            };
            let values = || hidden.iter().zip(&gate).zip(&given).map(|((a, b), g)| [a, b, g].map(|v| f64::from(*v)));
            let of_hidden: Vec<f64> = values().map(|[_, b, g]| g * activate(activation, b)).collect();
            let of_gate: Vec<f64> = values().map(|[a, b, g]| g * a * slope(activation, b)).collect();
            assert!(distance_to_definition(&half(0), &of_hidden) < 2e-6, "{what}");
            assert!(distance_to_definition(&half(1), &of_gate) < 2e-6, "{what}");
        }
    }
}
