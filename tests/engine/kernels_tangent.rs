//! Kernels of tangents: shader against CPU twin over awkward shapes, in both families; twin against central differences
//! of the definition in float64.

use std::f64::consts::FRAC_2_PI;

use crate::check::{assert_padding_is_zero, check};
use crate::common::{engines, numbers};
use crate::definition::distance_to_definition;
use downhill::kernels::Activation;
use downhill::kernels::tangent::{
    ActivateTangent, GroupNormTangent, LayerNormTangent, MomentsTangent, ScaleShiftTangent, SoftmaxTangent,
};
use downhill::tensor::{Shape, TEXEL, pack_nchw, unpack_nchw};

/// Half a step of the differences in float64: their error is about its square.
const STEP: f64 = 1e-5;

fn activate(activation: Option<Activation>, v: f64) -> f64 {
    match activation {
        None => v,
        Some(Activation::Silu) => v / (1.0 + (-v).exp()),
        Some(Activation::Mish) => v * v.exp().ln_1p().tanh(),
        Some(Activation::Gelu) => 0.5 * v * (1.0 + libm::erf(v / 2f64.sqrt())),
        Some(Activation::Relu) => v.max(0.0),
        Some(Activation::QuickGelu) => v / (1.0 + (-1.702 * v).exp()),
        Some(Activation::GeluTanh) => 0.5 * v * (1.0 + (FRAC_2_PI.sqrt() * (v + 0.044_715 * v.powi(3))).tanh()),
    }
}

/// How `of` changes along `tangent`, for each of the `repeats` tangents of each image of x.
fn differences(x: &[f32], tangent: &[f32], images: usize, of: impl Fn(&[f64], usize) -> Vec<f64>) -> Vec<f64> {
    let len = x.len() / images;
    let repeats = tangent.len() / x.len();
    let of_tangent = |(at, tangent): (usize, &[f32])| {
        let image = at / repeats;
        let moved = |step: f64| {
            let values = x[image * len..][..len].iter().zip(tangent);
            of(&values.map(|(x, t)| f64::from(*x) + step * f64::from(*t)).collect::<Vec<_>>(), image)
        };
        let (above, below) = (moved(STEP), moved(-STEP));
        above.into_iter().zip(below).map(|(above, below)| (above - below) / (2.0 * STEP)).collect::<Vec<_>>()
    };
    tangent.chunks(len).enumerate().flat_map(of_tangent).collect()
}

#[test]
fn slopes_agree_with_their_twins_and_the_definitions() {
    for engine in engines() {
        for activation in Activation::ALL {
            for (x, repeats, scale) in [
                (Shape::new(1, 1, 1, 1), 1, 1.0),
                (Shape::new(2, 3, 5, 6), 3, 0.01),
                (Shape::new(1, 7, 9, 13), 2, 3.0),
                (Shape::new(3, 2, 1, 130), 5, 12.0),
            ] {
                let what = format!("{activation:?} of {repeats} x {x}");
                let shape = Shape { n: x.n * repeats, ..x };
                let values: Vec<f32> = numbers(1, x.rows() * x.c).iter().map(|v| v * scale).collect();
                let tangent = numbers(2, shape.rows() * shape.c);
                let reads: [&[f32]; 2] = [&pack_nchw(&values, x), &pack_nchw(&tangent, shape)];
                let dispatch = ActivateTangent { shape, repeats, activation }.dispatch(engine.family);
                let y = check(engine, &dispatch, &reads, shape.texels(), &what);
                assert_padding_is_zero(&y, x.c, &what);
                let of = |x: &[f64], _| x.iter().map(|v| activate(Some(activation), *v)).collect();
                let expected = differences(&values, &tangent, x.n, of);
                let apart = distance_to_definition(&unpack_nchw(&y, shape), &expected);
                assert!(apart < 2e-6, "{what}: {apart:e}");
            }
        }
    }
}

struct Norm {
    x: Shape,
    repeats: usize,
    groups: usize,
    modulated: bool,
    activation: Option<Activation>,
    /// Added to every value of x.
    offset: f32,
    chunk: Option<usize>,
}

#[test]
fn tangents_of_normalisations_agree_with_their_twins_and_the_definition() {
    let plain = Norm {
        x: Shape::new(1, 1, 1, 4),
        repeats: 1,
        groups: 1,
        modulated: false,
        activation: None,
        offset: 0.0,
        chunk: None,
    };
    let silu = Some(Activation::Silu);
    let cases = [
        Norm { ..plain },
        Norm { x: Shape::new(2, 3, 5, 6), repeats: 3, groups: 2, activation: silu, ..plain },
        Norm { x: Shape::new(1, 7, 9, 9), repeats: 2, groups: 3, modulated: true, activation: silu, ..plain },
        Norm { x: Shape::new(3, 5, 4, 15), repeats: 2, groups: 5, modulated: true, chunk: Some(7), ..plain },
        Norm { x: Shape::new(2, 6, 6, 10), repeats: 1, groups: 10, activation: Some(Activation::Gelu), ..plain },
        Norm { x: Shape::new(1, 9, 11, 32), repeats: 5, groups: 8, activation: Some(Activation::Mish), ..plain },
        Norm { x: Shape::new(1, 13, 17, 12), repeats: 2, groups: 4, activation: silu, offset: 30.0, ..plain },
        Norm { x: Shape::new(2, 8, 8, 64), repeats: 4, groups: 16, modulated: true, chunk: Some(16), ..plain },
    ];
    for engine in engines() {
        for case in &cases {
            let Norm { x, repeats, groups, modulated, activation, offset, chunk } = *case;
            let what = format!("{repeats} x {x} in {groups} groups, {activation:?}, modulated {modulated}, + {offset}");
            let shape = Shape { n: x.n * repeats, ..x };
            let values: Vec<f32> = numbers(1, x.rows() * x.c).iter().map(|v| v + offset).collect();
            let tangent: Vec<f32> = numbers(2, shape.rows() * x.c).iter().map(|v| v + 0.1 * offset).collect();
            let (weight, bias, eps) = (numbers(3, x.c), numbers(4, x.c), 1e-3f32);
            let modulation = numbers(5, x.n * 2 * x.c);
            let vector = |values: &[f32]| pack_nchw(values, Shape::vector(1, x.c));
            let packed_modulation =
                if modulated { pack_nchw(&modulation, Shape::vector(x.n, 2 * x.c)) } else { vec![f32::NAN; TEXEL] };
            let (packed_x, packed_tangent) = (pack_nchw(&values, x), pack_nchw(&tangent, shape));

            let moments = MomentsTangent::new(shape, repeats);
            let moments = MomentsTangent { chunk: chunk.unwrap_or(moments.chunk), ..moments };
            let reads: [&[f32]; 2] = [&packed_x, &packed_tangent];
            let measured = check(engine, &moments.dispatch(engine.family), &reads, moments.texels(), &what);
            let row = modulated.then_some((2 * x.c).div_ceil(TEXEL));
            let fold = GroupNormTangent { moments, groups, eps, modulation: row };
            let reads: [&[f32]; 4] = [&measured, &vector(&weight), &vector(&bias), &packed_modulation];
            let factors = check(engine, &fold.dispatch(engine.family), &reads, fold.texels(), &what);
            assert_padding_is_zero(&factors, x.c, &what);
            let apply = ScaleShiftTangent { shape, repeats, activation };
            let reads: [&[f32]; 3] = [&packed_x, &packed_tangent, &factors];
            let y = check(engine, &apply.dispatch(engine.family), &reads, shape.texels(), &what);
            assert_padding_is_zero(&y, x.c, &what);

            let of = |x_values: &[f64], image: usize| {
                let len = x_values.len() / groups;
                let channel_len = x_values.len() / x.c;
                let mut normalised = Vec::new();
                for (at, value) in x_values.iter().enumerate() {
                    let group = &x_values[at / len * len..][..len];
                    let mean = group.iter().sum::<f64>() / len as f64;
                    let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / len as f64;
                    let c = at / channel_len;
                    let z = (value - mean) / (variance + f64::from(eps)).sqrt() * f64::from(weight[c]);
                    let z = z + f64::from(bias[c]);
                    let of_image = &modulation[image * 2 * x.c..];
                    let z =
                        if modulated { z * (1.0 + f64::from(of_image[c])) + f64::from(of_image[x.c + c]) } else { z };
                    normalised.push(activate(activation, z));
                }
                normalised
            };
            let expected = differences(&values, &tangent, x.n, of);
            let apart = distance_to_definition(&unpack_nchw(&y, shape), &expected);
            let allowed = if offset == 0.0 { 5e-6 } else { 2e-5 };
            assert!(apart < allowed, "{what}: {apart:e}");
        }
    }
}

#[test]
fn tangents_of_layer_norm_agree_with_their_twin_and_the_definition() {
    for engine in engines() {
        for (x, repeats, offset) in [
            (Shape::new(1, 1, 1, 4), 1, 0.0),
            (Shape::new(2, 3, 5, 6), 3, 0.0),
            (Shape::new(1, 7, 9, 13), 2, 0.0),
            (Shape::new(3, 1, 4, 130), 2, 20.0),
        ] {
            let what = format!("{repeats} x {x}, + {offset}");
            let shape = Shape { n: x.n * repeats, ..x };
            let values: Vec<f32> = numbers(1, x.rows() * x.c).iter().map(|v| v + offset).collect();
            let tangent: Vec<f32> = numbers(2, shape.rows() * x.c).iter().map(|v| v + 0.1 * offset).collect();
            let (weight, eps) = (numbers(3, x.c), 1e-3f32);
            let packed_weight = pack_nchw(&weight, Shape::vector(1, x.c));
            let reads: [&[f32]; 3] = [&pack_nchw(&values, x), &pack_nchw(&tangent, shape), &packed_weight];
            let (rows, channels, image_rows) = (shape.rows(), x.c, x.pixels());
            let norm = LayerNormTangent { rows, channels, image_rows, repeats, eps };
            let y = check(engine, &norm.dispatch(engine.family), &reads, shape.texels(), &what);
            assert_padding_is_zero(&y, x.c, &what);
            let of = |image: &[f64], _| {
                let pixels = image.len() / x.c;
                let normal = |at: usize| {
                    let channel = |c: usize| image[c * pixels + at % pixels];
                    let mean = (0..x.c).map(channel).sum::<f64>() / x.c as f64;
                    let variance = (0..x.c).map(|c| (channel(c) - mean).powi(2)).sum::<f64>() / x.c as f64;
                    (image[at] - mean) / (variance + f64::from(eps)).sqrt() * f64::from(weight[at / pixels])
                };
                (0..image.len()).map(normal).collect()
            };
            let expected = differences(&values, &tangent, x.n, of);
            let apart = distance_to_definition(&unpack_nchw(&y, shape), &expected);
            assert!(apart < if offset == 0.0 { 5e-6 } else { 2e-5 }, "{what}: {apart:e}");
        }
    }
}

#[test]
fn tangents_of_softmax_agree_with_their_twin_and_the_definition() {
    for engine in engines() {
        for (images, repeats, image_rows, columns) in
            [(1usize, 1, 1, 1usize), (2, 3, 5, 7), (1, 4, 65, 4), (3, 2, 3, 130), (1, 2, 17, 33)]
        {
            let what = format!("{images} images of {image_rows} x {columns}, {repeats} tangents each");
            let (few, padded) = (images * image_rows, columns.next_multiple_of(TEXEL));
            let rows = few * repeats;
            let scores: Vec<f32> = numbers(1, few * columns).iter().map(|v| 3.0 * v).collect();
            let turns = numbers(2, rows * columns);
            let softmax = |row: &[f64]| {
                let total: f64 = row.iter().map(|v| v.exp()).sum();
                row.iter().map(|v| v.exp() / total).collect::<Vec<_>>()
            };
            let mut shares = vec![0.0f32; few * padded];
            for (to, row) in shares.chunks_mut(padded).zip(scores.chunks(columns)) {
                let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
                to.iter_mut().zip(softmax(&row)).for_each(|(to, share)| *to = share as f32);
            }
            // What stands in the padding of the tangents must not matter.
            let mut tangent = vec![f32::NAN; rows * padded];
            for (to, row) in tangent.chunks_mut(padded).zip(turns.chunks(columns)) {
                to[..columns].copy_from_slice(row);
            }
            let dispatch = SoftmaxTangent { rows, columns, image_rows, repeats }.dispatch(engine.family);
            let y = check(engine, &dispatch, &[&shares, &tangent], rows * padded / TEXEL, &what);
            assert_padding_is_zero(&y, columns, &what);
            let found: Vec<f32> = y.chunks(padded).flat_map(|row| row[..columns].to_vec()).collect();
            let of = |values: &[f64], _| values.chunks(columns).flat_map(softmax).collect();
            let expected = differences(&scores, &turns, images, of);
            let apart = distance_to_definition(&found, &expected);
            assert!(apart < 2e-6, "{what}: {apart:e}");
        }
    }
}
