//! Kernels that work value by value or move values: shader against CPU twin over awkward shapes, in both families; twin
//! against the definition.

use std::f64::consts::{FRAC_2_PI, TAU};

use crate::check::{assert_padding_is_zero, check, check_within, map, run_device};
use crate::common::{engines, numbers};
use crate::definition::distance_to_definition;
use downhill::gpu::{Call, Region};
use downhill::kernels::combine::Combine;
use downhill::kernels::concat::Concat;
use downhill::kernels::elementwise::{Activate, Add};
use downhill::kernels::engine::call_words;
use downhill::kernels::fir::Fir;
use downhill::kernels::gate::Gate;
use downhill::kernels::modulate::Modulate;
use downhill::kernels::pool::Pool;
use downhill::kernels::probes::{Chain, Copy};
use downhill::kernels::resample::{AveragePool, UpsampleNearest};
use downhill::kernels::resize::Resize;
use downhill::kernels::shader::MAX_OPERANDS;
use downhill::kernels::timestep_embedding::{TimestepEmbedding, split_in_three, table};
use downhill::kernels::unpatchify::Unpatchify;
use downhill::kernels::{Activation, Dispatch, Engine};
use downhill::tensor::{Shape, TEXEL, pack_nchw, unpack_nchw};

fn activation_defined(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::Silu => v / (1.0 + (-v).exp()),
        Activation::Mish => v * v.exp().ln_1p().tanh(),
        Activation::Gelu => 0.5 * v * (1.0 + libm::erf(v / 2f64.sqrt())),
        Activation::Relu => v.max(0.0),
        Activation::QuickGelu => v / (1.0 + (-1.702 * v).exp()),
        Activation::GeluTanh => 0.5 * v * (1.0 + (FRAC_2_PI.sqrt() * (v + 0.044_715 * v.powi(3))).tanh()),
    }
}

#[test]
fn activations_agree_with_their_twins_and_the_definitions() {
    for engine in engines() {
        for activation in Activation::ALL {
            for (texels, scale) in [(1, 1.0), (63, 0.01), (65, 3.0), (1000, 12.0)] {
                let x: Vec<f32> = numbers(texels as u32, texels * TEXEL).iter().map(|v| v * scale).collect();
                let what = format!("{activation:?} of {texels} texels");
                let y = check(engine, &Activate { texels, activation }.dispatch(engine.family), &[&x], texels, &what);
                let expected: Vec<_> = x.iter().map(|v| activation_defined(activation, f64::from(*v))).collect();
                assert!(distance_to_definition(&y, &expected) < 1e-6, "{what}");
            }
        }
    }
}

#[test]
fn every_activation_keeps_zero() {
    let zeros = [0.0; TEXEL];
    for engine in engines() {
        for activation in Activation::ALL {
            let dispatch = Activate { texels: 1, activation }.dispatch(engine.family);
            assert_eq!(run_device(engine, &dispatch, &[&zeros], 1), zeros, "{activation:?}");
            assert_eq!(check_within(engine, &dispatch, &[&zeros], 1, "zero", 0.0), zeros, "{activation:?}");
        }
    }
}

#[test]
fn flat_grids_go_on_in_a_second_row() {
    // One texel and a bit more than a row of 32768 workgroups holds.
    let texels = 32768 * 64 + 65;
    let x = numbers(1, texels * TEXEL);
    for engine in engines() {
        let dispatch = Activate { texels, activation: Activation::Relu }.dispatch(engine.family);
        assert_eq!(dispatch.grid, [32768, 2, 1]);
        check_within(engine, &dispatch, &[&x], texels, "two rows of workgroups", 0.0);
    }
}

#[test]
fn gate_agrees_with_its_twin_and_the_definition() {
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 6), Shape::new(3, 7, 1, 13), Shape::new(2, 1, 77, 32)];
    for engine in engines() {
        for (y, activation) in shapes.into_iter().flat_map(|y| Activation::ALL.map(|activation| (y, activation))) {
            let what = format!("{activation:?}, {y}");
            let [hidden, gate] = [1, 2].map(|seed| numbers(seed, y.rows() * y.c));
            let gate: Vec<f32> = gate.iter().map(|v| v * 6.0).collect();
            // The texels of a pixel's first half, then those of its second.
            let halves = [&hidden, &gate].map(|values| pack_nchw(values, y));
            let padded = y.c4() * TEXEL;
            let pixels = halves[0].chunks(padded).zip(halves[1].chunks(padded));
            let x: Vec<f32> = pixels.flat_map(|(hidden, gate)| [hidden, gate].concat()).collect();
            let found = check(engine, &Gate { y, activation }.dispatch(engine.family), &[&x], y.texels(), &what);
            assert_padding_is_zero(&found, y.c, &what);
            let product =
                |(hidden, gate): (&f32, &f32)| f64::from(*hidden) * activation_defined(activation, f64::from(*gate));
            let expected: Vec<_> = hidden.iter().zip(&gate).map(product).collect();
            assert!(distance_to_definition(&unpack_nchw(&found, y), &expected) < 1e-6, "{what}");
        }
    }
}

#[test]
fn modulation_agrees_with_its_twin_and_the_definition() {
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 6), Shape::new(3, 7, 1, 13), Shape::new(2, 1, 77, 32)];
    for engine in engines() {
        for (shape, is_map) in shapes.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let what = format!("{shape}, shift by a map {is_map}");
            // The vectors of an image are longer than x has channels: parts of one that holds several.
            let (scales, shifts) = (Shape::vector(shape.n, shape.c + 4), Shape::vector(shape.n, shape.c + 9));
            let shift_shape = if is_map { shape } else { shifts };
            let values = |seed: u32, of: Shape| numbers(seed, of.rows() * of.c);
            let (x, scale, mut shift) = (values(1, shape), values(2, scales), values(3, shift_shape));
            // Only channels of x are read; those beyond are zero in the texel that both share.
            let kept = if is_map { shape.c } else { shifts.c };
            for (at, value) in shift.iter_mut().enumerate() {
                let channel = if is_map { 0 } else { at % kept };
                *value = if channel < shape.c { *value } else { 0.0 };
            }
            let reads: [&[f32]; 3] =
                [&pack_nchw(&x, shape), &pack_nchw(&scale, scales), &pack_nchw(&shift, shift_shape)];
            let shift_row = (!is_map).then_some(shifts.c4());
            let modulate = Modulate { shape, scale_row: scales.c4(), shift_row, offset: 1.0 };
            let y = check(engine, &modulate.dispatch(engine.family), &reads, shape.texels(), &what);
            assert_padding_is_zero(&y, shape.c, &what);
            let defined = |(index, x): (usize, &f32)| {
                let (image, channel) = (index / shape.pixels() / shape.c, index / shape.pixels() % shape.c);
                let b = if is_map { shift[index] } else { shift[image * shifts.c + channel] };
                f64::from(*x) * (1.0 + f64::from(scale[image * scales.c + channel])) + f64::from(b)
            };
            let expected: Vec<f64> = x.iter().enumerate().map(defined).collect();
            assert!(distance_to_definition(&unpack_nchw(&y, shape), &expected) < 1e-6, "{what}");
        }
    }
}

#[test]
fn unpatchify_agrees_with_its_twin_and_the_definition() {
    let cases = [
        (Shape::new(1, 1, 1, 1), 1),
        (Shape::new(2, 4, 6, 8), 2),
        (Shape::new(2, 9, 3, 3), 3),
        (Shape::new(1, 8, 4, 6), 4),
        (Shape::new(3, 5, 7, 5), 1),
    ];
    for engine in engines() {
        for (y, side) in cases {
            let what = format!("{y} from patches of {side}");
            let x = Shape::new(y.n, y.h / side, y.w / side, side * side * y.c);
            let tokens = numbers(4, x.rows() * x.c);
            let reads: [&[f32]; 1] = [&pack_nchw(&tokens, x)];
            let found = check(engine, &Unpatchify { y, side }.dispatch(engine.family), &reads, y.texels(), &what);
            assert_padding_is_zero(&found, y.c, &what);
            // Index by index as torch's einsum "nhwpqc->nchpwq" has them.
            let mut expected = Vec::with_capacity(tokens.len());
            for (image, channel) in (0..y.n).flat_map(|image| (0..y.c).map(move |channel| (image, channel))) {
                for (row, column) in (0..y.h).flat_map(|row| (0..y.w).map(move |column| (row, column))) {
                    let from = (row % side * side + column % side) * y.c + channel;
                    let at = ((image * x.c + from) * x.h + row / side) * x.w + column / side;
                    expected.push(tokens[at]);
                }
            }
            assert_eq!(unpack_nchw(&found, y), expected, "{what}");
        }
    }
}

#[test]
fn add_agrees_with_its_twin_and_the_definition() {
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 6), Shape::new(3, 7, 1, 13), Shape::new(2, 1, 11, 32)];
    for engine in engines() {
        for (shape, per_image) in shapes.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let what = format!("{shape}, per image {per_image}");
            let b_shape = if per_image { Shape::vector(shape.n, shape.c) } else { shape };
            let (a, b) = (numbers(1, shape.n * shape.c * shape.pixels()), numbers(2, b_shape.rows() * shape.c));
            let reads: [&[f32]; 2] = [&pack_nchw(&a, shape), &pack_nchw(&b, b_shape)];
            let add = Add { shape, per_image, scale: 0.7 };
            let y = check(engine, &add.dispatch(engine.family), &reads, shape.texels(), &what);
            assert_padding_is_zero(&y, shape.c, &what);
            let of_b = |index: usize| if per_image { b[index / shape.pixels()] } else { b[index] };
            let expected: Vec<_> =
                a.iter().enumerate().map(|(index, a)| (f64::from(*a) + f64::from(of_b(index))) * 0.7).collect();
            assert!(distance_to_definition(&unpack_nchw(&y, shape), &expected) < 1e-6, "{what}");
        }
    }
}

/// Runs a kernel that only moves values: device, twin and definition must agree to the bit.
fn check_moved(
    engine: &Engine,
    dispatch: downhill::kernels::Dispatch,
    reads: &[&[f32]],
    y: Shape,
    expected: &[f32],
    what: &str,
) {
    let host = check_within(engine, &dispatch, reads, y.texels(), what, 0.0);
    assert_padding_is_zero(&host, y.c, what);
    assert_eq!(unpack_nchw(&host, y), expected, "{what}");
}

#[test]
fn concat_joins_channels() {
    let channels =
        [(1, 1), (1, 3), (1, 7), (2, 2), (3, 5), (3, 6), (4, 4), (4, 1), (5, 3), (6, 1), (7, 9), (8, 3), (130, 6)];
    for engine in engines() {
        for (a_c, b_c) in channels {
            let (a, b) = (Shape::new(2, 3, 5, a_c), Shape::new(2, 3, 5, b_c));
            let y = Shape { c: a_c + b_c, ..a };
            let (of_a, of_b) = (numbers(1, a.rows() * a_c), numbers(2, b.rows() * b_c));
            let expected: Vec<f32> = (0..2)
                .flat_map(|n| [&of_a[n * 15 * a_c..][..15 * a_c], &of_b[n * 15 * b_c..][..15 * b_c]].concat())
                .collect();
            let reads: [&[f32]; 2] = [&pack_nchw(&of_a, a), &pack_nchw(&of_b, b)];
            let dispatch = Concat { a, b }.dispatch(engine.family);
            check_moved(engine, dispatch, &reads, y, &expected, &format!("{a_c} + {b_c} channels"));
        }
    }
}

#[test]
fn upsampling_repeats_pixels() {
    for engine in engines() {
        for x in [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 6), Shape::new(1, 7, 4, 9), Shape::new(3, 2, 2, 130)] {
            let values = numbers(1, x.rows() * x.c);
            for (more_rows, more_columns) in [(0, 0), (-1, 0), (0, -1), (1, -1), (1, 1)] {
                let twice = |side: usize, more: isize| (2 * side).saturating_add_signed(more);
                let y = Shape { h: twice(x.h, more_rows), w: twice(x.w, more_columns), ..x };
                let mut expected = Vec::new();
                for plane in 0..x.n * x.c {
                    for (row, column) in (0..y.pixels()).map(|pixel| (pixel / y.w, pixel % y.w)) {
                        expected.push(values[(plane * x.h + row * x.h / y.h) * x.w + column * x.w / y.w]);
                    }
                }
                let dispatch = UpsampleNearest { x, y }.dispatch(engine.family);
                check_moved(engine, dispatch, &[&pack_nchw(&values, x)], y, &expected, &format!("{x} to {y}"));
            }
        }
    }
}

#[test]
fn average_pooling_agrees_with_its_twin_and_the_definition() {
    for engine in engines() {
        for x in [Shape::new(1, 2, 2, 1), Shape::new(2, 3, 5, 6), Shape::new(1, 7, 9, 9), Shape::new(3, 8, 4, 130)] {
            let values = numbers(1, x.rows() * x.c);
            let y = Shape { h: x.h / 2, w: x.w / 2, ..x };
            let mut expected = Vec::new();
            for plane in 0..x.n * x.c {
                for (row, column) in (0..y.pixels()).map(|pixel| (pixel / y.w, pixel % y.w)) {
                    let at = |i: usize, j: usize| f64::from(values[(plane * x.h + 2 * row + i) * x.w + 2 * column + j]);
                    expected.push((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0);
                }
            }
            let dispatch = AveragePool { x }.dispatch(engine.family);
            let what = format!("{x}");
            let host = check(engine, &dispatch, &[&pack_nchw(&values, x)], y.texels(), &what);
            assert_padding_is_zero(&host, y.c, &what);
            assert!(distance_to_definition(&unpack_nchw(&host, y), &expected) < 1e-6, "{what}");
        }
    }
}

#[test]
fn pooling_by_windows_agrees_with_its_twin_and_the_definition() {
    // (side, stride, pad)
    let windows = [(3, 2, 0), (3, 1, 1), (2, 2, 1), (5, 3, 2), (1, 1, 0), (4, 1, 0)];
    let shapes = [Shape::new(1, 4, 4, 1), Shape::new(2, 5, 7, 6), Shape::new(1, 9, 4, 9), Shape::new(3, 6, 5, 130)];
    for engine in engines() {
        for (x, (side, stride, pad)) in shapes.into_iter().flat_map(|x| windows.map(|window| (x, window))) {
            // Below zero throughout, so that a zero from outside of the map would be the largest.
            let values: Vec<f32> = numbers(1, x.rows() * x.c).iter().map(|value| value - 1.5).collect();
            let extent = |of: usize| (of + 2 * pad).checked_sub(side).map(|left| left / stride + 1);
            let (Some(h), Some(w)) = (extent(x.h), extent(x.w)) else { continue };
            let y = Shape { h, w, ..x };
            for largest in [false, true] {
                let mut expected = Vec::new();
                for plane in 0..x.n * x.c {
                    for (row, column) in (0..y.pixels()).map(|pixel| (pixel / w, pixel % w)) {
                        let mut seen = Vec::new();
                        for (i, j) in (0..side * side).map(|tap| (tap / side, tap % side)) {
                            let i = (row * stride + i).checked_sub(pad).filter(|i| *i < x.h);
                            let j = (column * stride + j).checked_sub(pad).filter(|j| *j < x.w);
                            let at = i.zip(j).map(|(i, j)| (plane * x.h + i) * x.w + j);
                            seen.extend(at.map(|at| f64::from(values[at])));
                        }
                        let most = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        expected.push(if largest { most } else { seen.iter().sum::<f64>() / seen.len() as f64 });
                    }
                }
                let dispatch = Pool { x, y, side, stride, pad, largest }.dispatch(engine.family);
                let what = format!("{x}, {side} by {stride} from -{pad}, largest {largest}");
                let host = check(engine, &dispatch, &[&pack_nchw(&values, x)], y.texels(), &what);
                assert_padding_is_zero(&host, y.c, &what);
                assert!(distance_to_definition(&unpack_nchw(&host, y), &expected) < 1e-6, "{what}");
            }
        }
    }
}

#[test]
fn bilinear_resizing_agrees_with_its_twin_and_the_definition() {
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 6), Shape::new(1, 32, 9, 3), Shape::new(2, 4, 2, 130)];
    let sizes = [(1, 1), (3, 5), (7, 4), (10, 29), (2, 13)];
    for engine in engines() {
        for (x, (h, w)) in shapes.into_iter().flat_map(|x| sizes.map(|size| (x, size))) {
            let values = numbers(1, x.rows() * x.c);
            let y = Shape { h, w, ..x };
            for centred in [false, true] {
                let place = |at: usize, from: usize, to: usize| {
                    let ratio = from as f64 / to as f64;
                    let place = if centred { (at as f64 + 0.5) * ratio - 0.5 } else { at as f64 * ratio };
                    place.clamp(0.0, (from - 1) as f64)
                };
                let mut expected = Vec::new();
                for plane in 0..x.n * x.c {
                    for pixel in 0..y.pixels() {
                        let (row, column) = (place(pixel / w, x.h, h), place(pixel % w, x.w, w));
                        let mut sum = 0.0;
                        for (i, j) in (0..x.pixels()).map(|at| (at / x.w, at % x.w)) {
                            let share = |at: usize, place: f64| (1.0 - (at as f64 - place).abs()).max(0.0);
                            let value = f64::from(values[(plane * x.h + i) * x.w + j]);
                            sum += share(i, row) * share(j, column) * value;
                        }
                        expected.push(sum);
                    }
                }
                let dispatch = Resize { x, y, centred }.dispatch(engine.family);
                let what = format!("{x} to {h} x {w}, centred {centred}");
                let host = check(engine, &dispatch, &[&pack_nchw(&values, x)], y.texels(), &what);
                assert_padding_is_zero(&host, y.c, &what);
                assert!(distance_to_definition(&unpack_nchw(&host, y), &expected) < 1e-6, "{what}");
            }
        }
    }
}

#[test]
fn filtered_changes_of_resolution_agree_with_their_twins_and_the_definitions() {
    let taps = [1.0, 3.0, 3.0, 1.0];
    for engine in engines() {
        for x in [Shape::new(1, 2, 2, 1), Shape::new(2, 3, 5, 6), Shape::new(1, 7, 9, 9), Shape::new(3, 8, 4, 130)] {
            let values = numbers(1, x.rows() * x.c);
            let value = |plane: usize, row: isize, column: isize| {
                let is_inside = (0..x.h as isize).contains(&row) && (0..x.w as isize).contains(&column);
                let at = || (plane * x.h + row as usize) * x.w + column as usize;
                if is_inside { f64::from(values[at()]) } else { 0.0 }
            };
            for (doubles, pad) in [(false, 1), (false, 0), (true, 0)] {
                if !doubles && x.h + 2 * pad < 4 {
                    continue;
                }
                let side = |side: usize| if doubles { 2 * side } else { (side + 2 * pad - 4) / 2 + 1 };
                let y = Shape { h: side(x.h), w: side(x.w), ..x };
                // Both are one correlation of x with zeros around it, or between its pixels.
                let tap = |i: usize, k: usize| -> Option<isize> {
                    if !doubles {
                        return Some((2 * i + k) as isize - pad as isize);
                    }
                    let place = (i + k) as isize - 2;
                    (place % 2 == 0).then_some(place / 2)
                };
                let gain = if doubles { 16.0 } else { 64.0 };
                let mut expected = Vec::new();
                for plane in 0..x.n * x.c {
                    for (i, j) in (0..y.pixels()).map(|pixel| (pixel / y.w, pixel % y.w)) {
                        let mut sum = 0.0;
                        for (k, l) in (0..16).map(|both| (both / 4, both % 4)) {
                            if let (Some(row), Some(column)) = (tap(i, k), tap(j, l)) {
                                sum += taps[k] * taps[l] / gain * value(plane, row, column);
                            }
                        }
                        expected.push(sum);
                    }
                }
                let dispatch = Fir { x, y, doubles, pad }.dispatch(engine.family);
                let what = format!("{x}, doubles {doubles}, pad {pad}");
                let host = check(engine, &dispatch, &[&pack_nchw(&values, x)], y.texels(), &what);
                assert_padding_is_zero(&host, y.c, &what);
                assert!(distance_to_definition(&unpack_nchw(&host, y), &expected) < 1e-6, "{what}");
            }
        }
    }
}

/// One texel for each timestep.
fn split_timesteps(timesteps: &[f64]) -> Vec<f32> {
    timesteps
        .iter()
        .flat_map(|t| {
            let [first, second, third] = split_in_three(*t);
            [first, second, third, 0.0]
        })
        .collect()
}

#[test]
fn timestep_embedding_is_exact_for_large_phases() {
    // Whole, fractional and awkward timesteps; the frequencies of a network of 128 channels and up to 50 turns.
    let mut timesteps: Vec<f64> = vec![0.0, 0.25, 1.0, 500.0, 999.0, 1000.0, 999.999, 0.001_234_5, 123.456_789];
    timesteps.extend(numbers(1, 60).iter().map(|v| f64::from(*v).abs() * 1000.0 + 1e-7));
    let mut frequencies: Vec<f64> = (0..64).map(|i| (-f64::from(i) / 64.0 * 10000f64.ln()).exp() / TAU).collect();
    frequencies.extend(numbers(2, 40).iter().map(|v| f64::from(*v) * 50.0 + 1e-9));
    frequencies.extend([0.0, 0.5, 1.0, 49.999_999_9, -50.0]);
    let (t, frequency_table) = (split_timesteps(&timesteps), table(&frequencies));
    let dim = 2 * frequencies.len() + 1;
    for engine in engines() {
        for flip in [false, true] {
            let embedding = TimestepEmbedding { images: timesteps.len(), dim, flip };
            let dispatch = embedding.dispatch(engine.family);
            let texels = timesteps.len() * dim.div_ceil(TEXEL);
            let host = check_within(engine, &dispatch, &[&t, &frequency_table], texels, "embedding", 5e-7);
            let device = run_device(engine, &dispatch, &[&t, &frequency_table], texels);
            let padded = dim.next_multiple_of(TEXEL);
            for y in [host, device] {
                assert_padding_is_zero(&y, dim, "embedding");
                for (t, y) in timesteps.iter().zip(y.chunks(padded)) {
                    let (first, rest) = y.split_at(frequencies.len());
                    let (sines, cosines) = if flip { (rest, first) } else { (first, rest) };
                    for (i, f) in frequencies.iter().enumerate() {
                        let (sine, cosine) = (TAU * (t * f).fract()).sin_cos();
                        let apart = (f64::from(sines[i]) - sine).abs().max((f64::from(cosines[i]) - cosine).abs());
                        assert!(apart < 5e-7, "t = {t}, f = {f}: {apart:e}");
                    }
                    assert_eq!(y[dim - 1], 0.0, "the last odd channel");
                }
            }
        }
    }
}

#[test]
fn timestep_embedding_has_any_length() {
    let frequencies: Vec<f64> = (0..33).map(|i| 0.16 / f64::from(i + 1)).collect();
    for engine in engines() {
        for (images, dim) in [(1, 1), (1, 2), (2, 3), (3, 6), (70, 8), (2, 66), (1, 67)] {
            let what = format!("{images} timesteps, {dim} channels");
            let t = split_timesteps(&numbers(3, images).iter().map(|v| f64::from(*v) * 900.0).collect::<Vec<_>>());
            let frequency_table = table(&frequencies[..(dim / 2).max(1)]);
            let embedding = TimestepEmbedding { images, dim, flip: true };
            let texels = images * dim.div_ceil(TEXEL);
            let reads: [&[f32]; 2] = [&t, &frequency_table];
            let y = check_within(engine, &embedding.dispatch(engine.family), &reads, texels, &what, 5e-7);
            assert_padding_is_zero(&y, dim, &what);
        }
    }
}

#[test]
fn combine_agrees_with_its_twin_and_the_definition() {
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(3, 5, 7, 3), Shape::new(2, 4, 9, 8), Shape::new(2, 1, 1, 131)];
    for engine in engines() {
        for shape in shapes {
            let values: Vec<_> = (1..=4).map(|seed| numbers(seed, shape.rows() * shape.c)).collect();
            let packed: Vec<_> = values.iter().map(|values| pack_nchw(values, shape)).collect();
            let coefficients = numbers(9, shape.n * TEXEL);
            for (terms, clip) in (1..=4).flat_map(|terms| [(terms, None), (terms, Some(0.4f32))]) {
                let what = format!("{shape}, {terms} terms, clip {clip:?}");
                let combine = Combine { shape, terms, clip, offset: 0.25 };
                // Terms beyond the last are bound to the first.
                let term = |i: usize| &packed[if i < terms { i } else { 0 }][..];
                let reads = [&coefficients[..], term(0), term(1), term(2), term(3)];
                let y = check(engine, &combine.dispatch(engine.family), &reads, shape.texels(), &what);
                assert_padding_is_zero(&y, shape.c, &what);
                let image_values = shape.c * shape.pixels();
                let expected: Vec<f64> = (0..shape.n * image_values)
                    .map(|index| {
                        let first = values[0][index];
                        let first = clip.map_or(first, |clip| first.clamp(-clip, clip));
                        let terms = (0..terms).map(|i| {
                            let v = if i == 0 { first } else { values[i][index] };
                            f64::from(coefficients[index / image_values * TEXEL + i]) * f64::from(v)
                        });
                        terms.sum::<f64>() + 0.25
                    })
                    .collect();
                assert!(distance_to_definition(&unpack_nchw(&y, shape), &expected) < 1e-6, "{what}");
            }
        }
    }
}

#[test]
fn combine_with_a_clip_does_not_hide_what_is_not_a_number() {
    let shape = Shape::new(1, 1, 3, 2);
    let mut x = map(1, shape);
    x[0] = f32::NAN;
    x[TEXEL + 1] = f32::INFINITY;
    let combine = Combine { shape, terms: 1, clip: Some(1.0), offset: 0.0 };
    for engine in engines() {
        let dispatch = combine.dispatch(engine.family);
        let y = run_device(engine, &dispatch, &[&[0.5; TEXEL], &x, &x, &x, &x], shape.texels());
        assert!(y[0].is_nan(), "{y:?}");
        assert_eq!(y[TEXEL + 1], 0.5, "infinity is beyond the clip like any large value");
        assert_padding_is_zero(&y, shape.c, "clip");
    }
}

#[test]
fn probes_agree_with_their_twins() {
    for engine in engines() {
        for texels in [1, 65, 1000] {
            let x = numbers(3, texels * TEXEL);
            check_within(engine, &Copy { texels }.dispatch(engine.family), &[&x], texels, "copy", 0.0);
            for (fused, rounds) in [(false, 1), (true, 3)] {
                let chain = Chain { texels, rounds, fused };
                let sums = check(engine, &chain.dispatch(engine.family), &[&[0.9, 0.1, 0.0, 0.0]], texels, "chain");
                // Every chain tends to a / (1 - m) = 1.
                assert!(sums.iter().all(|sum| (sum - 10.0).abs() < 10.0 * 640.0 * 0.9f32.powi(32 * rounds as i32)));
            }
        }
    }
}

#[test]
fn repeated_submissions_and_the_devices_clock_leave_the_answer_alone() {
    // y = x + y read back as x: each run counts one more.
    for engine in engines() {
        let storage = |values: &[f32]| {
            let storage = engine.gpu.allocate(engine.storage_kind(), values.len() / TEXEL, "x").unwrap();
            engine.gpu.upload(&storage, 0, values).unwrap();
            storage
        };
        let (one, x, y) = (storage(&[1.0; 40]), storage(&[0.0; 40]), storage(&[0.0; 40]));
        let add = Add { shape: Shape::new(1, 1, 10, 4), per_image: false, scale: 1.0 }.dispatch(engine.family);
        let copy = Copy { texels: 10 }.dispatch(engine.family);
        let pipelines = engine.pipelines(&[&add.shader, &copy.shader]).unwrap();
        let call = |at: usize, dispatch: &Dispatch, operands| Call {
            pipeline: &pipelines[at],
            words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
            operands,
            grid: dispatch.grid,
            flops: 0,
            label: "count",
        };
        let calls = [call(0, &add, vec![&x, &one, &y]), call(1, &copy, vec![&y, &x])];
        let recording = engine.gpu.record(&calls).unwrap();
        engine.gpu.submit_repeated(&recording, 300).unwrap();
        if let Some(times) = engine.gpu.dispatch_times(&recording).unwrap() {
            assert_eq!(times.len(), recording.dispatches());
            assert!(times.iter().all(|time| time.as_secs_f64() < 10.0));
        } else {
            engine.gpu.submit(&recording).unwrap();
        }
        engine.gpu.submit_repeated(&recording, 0).unwrap();
        let read = |storage| engine.gpu.download(&[Region { storage, first: 0, texels: 10 }]).unwrap().remove(0);
        assert_eq!(read(&x), [301.0; 40]);
        let other = storage(&[0.0; 40]);
        engine.gpu.copy(&x, &other, 2).unwrap();
        assert_eq!(read(&other), [301.0; 40]);
    }
}
