//! Convolution and matrix product: shader against CPU twin over awkward shapes, in both families; twin against the
//! definition.

use crate::check::{check, map, run_device};
use crate::common::{distance, engines, numbers};
use crate::definition::distance_to_definition;
use downhill::gpu::{Call, Region};
use downhill::kernels::conv2d::{Conv2d, pack, packed_texels};
use downhill::kernels::engine::call_words;
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::matmul::{Layout, MatMul, Strides};
use downhill::kernels::shader::MAX_OPERANDS;
use downhill::kernels::{Activation, Dispatch, Engine, Family, Source};
use downhill::tensor::{Shape, TEXEL, pack_nchw, unpack_nchw};

/// A vector of `c` channels for each image, with a texel of something else after each: a part of wider vectors.
fn spaced_vectors(seed: u32, images: usize, c: usize) -> Vec<f32> {
    let vectors = map(seed, Shape::vector(images, c));
    vectors.chunks(c.next_multiple_of(TEXEL)).flat_map(|vector| [vector, &[f32::NAN; TEXEL]].concat()).collect()
}

#[test]
fn conv2d_agrees_with_its_twin() {
    let full =
        EpilogueSpec { bias: true, per_image: None, activation: Some(Activation::Silu), residual: true, scale: 0.5 };
    let cases = [
        // (input, output channels, kernel, stride, (top, left, bottom, right))
        (Shape::new(1, 1, 1, 1), 1, 1, 1, (0, 0, 0, 0)),
        (Shape::new(1, 1, 1, 3), 5, 3, 1, (1, 1, 1, 1)),
        (Shape::new(2, 7, 7, 6), 10, 3, 1, (1, 1, 1, 1)),
        (Shape::new(1, 9, 17, 33), 35, 3, 1, (1, 1, 1, 1)),
        (Shape::new(3, 8, 8, 40), 64, 3, 2, (0, 0, 1, 1)),
        (Shape::new(1, 7, 5, 12), 4, 3, 2, (1, 1, 1, 1)),
        (Shape::new(2, 5, 19, 4), 130, 3, 1, (1, 1, 1, 1)),
        (Shape::new(1, 6, 6, 8), 8, 1, 2, (0, 0, 0, 0)),
        // Patches, as transformers cut them.
        (Shape::new(2, 6, 10, 4), 36, 2, 2, (0, 0, 0, 0)),
        (Shape::new(1, 12, 8, 3), 17, 4, 4, (0, 0, 0, 0)),
        (Shape::new(1, 4, 4, 129), 36, 3, 1, (1, 1, 1, 1)),
        // At most four channels written: another kernel of the lanes family.
        (Shape::new(2, 9, 17, 33), 3, 3, 1, (1, 1, 1, 1)),
        (Shape::new(1, 28, 28, 8), 1, 3, 1, (1, 1, 1, 1)),
        (Shape::new(3, 1, 2, 5), 4, 3, 1, (1, 1, 1, 1)),
        (Shape::new(1, 11, 13, 7), 2, 5, 1, (0, 1, 2, 3)),
    ];
    for engine in engines() {
        for (x, out, kernel, stride, (top, left, bottom, right)) in cases {
            let y = Shape::new(
                x.n,
                (x.h + top + bottom - kernel) / stride + 1,
                (x.w + left + right - kernel) / stride + 1,
                out,
            );
            let weights = pack(&numbers(2, out * x.c * kernel * kernel), out, x.c, (kernel, kernel), engine.family);
            assert_eq!(weights.len(), packed_texels(out, x.c, (kernel, kernel), engine.family) * TEXEL);
            let (input, bias) = (map(1, x), map(3, Shape::vector(1, out)));
            let (per_image, residual) = (spaced_vectors(4, x.n, out), map(5, y));
            for epilogue in [EpilogueSpec::default(), EpilogueSpec { per_image: Some(y.c4() + 1), ..full }] {
                let conv = Conv2d {
                    x,
                    source: Source::default(),
                    y,
                    kernel: (kernel, kernel),
                    stride,
                    pad: (top, left),
                    epilogue,
                    tile_size: None,
                };
                let reads: [&[f32]; 7] = [&input, &input, &input, &weights, &bias, &per_image, &residual];
                let what = format!("{x} -> {y}");
                let host = check(engine, &conv.dispatch(engine.family), &reads, y.texels(), &what);
                for pixel in host.chunks(y.c4() * TEXEL) {
                    assert!(pixel[y.c..].iter().all(|v| *v == 0.0), "{what}: padding must stay zero");
                }
            }
        }
    }
}

#[test]
fn conv2d_twin_is_a_convolution() {
    // Against the definition on NCHW data, so that twin and shader cannot share a mistake of layout.
    let (x, y) = (Shape::new(2, 5, 6, 3), Shape::new(2, 3, 3, 7));
    let (values, weights) = (numbers(1, 2 * 3 * 30), numbers(2, 7 * 3 * 9));
    for engine in engines() {
        let packed = pack(&weights, 7, 3, (3, 3), engine.family);
        let conv = Conv2d {
            x,
            source: Source::default(),
            y,
            kernel: (3, 3),
            stride: 2,
            pad: (1, 1),
            epilogue: EpilogueSpec::default(),
            tile_size: None,
        };
        let dispatch = conv.dispatch(engine.family);
        let mut host = vec![0.0; y.texels() * TEXEL];
        let none: &[f32] = &[];
        (dispatch.shader.kernel.twin)(
            &dispatch.params,
            &[&pack_nchw(&values, x), none, none, &packed, none, none, none],
            &mut host,
        );
        for (n, o, oy, ox) in [(0, 0, 0, 0), (1, 6, 2, 2), (1, 3, 1, 2), (0, 5, 2, 0)] {
            let mut sum = 0.0;
            for (c, ky, kx) in (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)) {
                let (iy, ix) = (oy * 2 + ky, ox * 2 + kx);
                if (1..=5).contains(&iy) && (1..=6).contains(&ix) {
                    sum += values[((n * 3 + c) * 5 + iy - 1) * 6 + ix - 1] * weights[((o * 3 + c) * 3 + ky) * 3 + kx];
                }
            }
            let got = host[((n * 3 + oy) * 3 + ox) * y.c4() * TEXEL + o];
            assert!((got - sum).abs() < 1e-5, "{got} is not {sum}");
        }
    }
}

#[test]
fn matmul_agrees_with_its_twin() {
    let full =
        EpilogueSpec { bias: true, per_image: None, activation: Some(Activation::Gelu), residual: true, scale: 2.0 };
    let cases: [(usize, usize, usize, usize); 9] = [
        (1, 1, 1, 1),
        (1, 3, 5, 7),
        (2, 17, 33, 35),
        (3, 49, 16, 49),
        (1, 65, 130, 129),
        (2, 16, 32, 32),
        (1, 100, 7, 260),
        (1, 70, 257, 258),
        // Large enough for the longest tile.
        (1, 131, 1030, 515),
    ];
    for engine in engines() {
        for (images, rows, k, columns) in cases {
            let what = format!("{images} x {rows}x{k}x{columns}");
            let (k4, columns4) = (k.div_ceil(TEXEL), columns.div_ceil(TEXEL));
            let a = map(1, Shape::new(images, 1, rows, k));
            let (bias, per_image) = (map(3, Shape::vector(1, columns)), spaced_vectors(4, images, columns));
            let residual = map(5, Shape::new(images, 1, rows, columns));
            let texels = images * rows * columns4;
            let plain = MatMul::plain(images, rows, k, columns);

            let b = map(2, Shape::new(images, 1, k, columns));
            let reads: [&[f32]; 7] = [&a, &a, &a, &b, &bias, &per_image, &residual];
            let by_rows = check(engine, &plain.dispatch(engine.family), &reads, texels, &what);

            let turned: Vec<f32> = (0..images)
                .flat_map(|image| {
                    let one = &b[image * k * columns4 * TEXEL..];
                    let (b_at, k) = (move |kk: usize, j: usize| one[kk * columns4 * TEXEL + j], k);
                    (0..columns)
                        .flat_map(move |j| (0..k4 * TEXEL).map(move |kk| if kk < k { b_at(kk, j) } else { 0.0 }))
                })
                .collect();
            let transposed =
                MatMul { layout: Layout::Transposed, b: Strides { row: k4, image: columns * k4, head: 0 }, ..plain };
            let reads: [&[f32]; 7] = [&a, &a, &a, &turned, &bias, &per_image, &residual];
            let by_columns = check(engine, &transposed.dispatch(engine.family), &reads, texels, &what);
            assert!(distance(&by_columns, &by_rows) < 1e-5, "{what}: the transposed operand is another product");

            // Packed weights: one matrix for the whole batch, rows of all images one after the other.
            let weights = pack(&numbers(7, columns * k), columns, k, (1, 1), engine.family);
            let packed = MatMul {
                layout: Layout::Packed,
                rows: images * rows,
                batch: (1, 1),
                rows_per_image: rows,
                epilogue: EpilogueSpec { per_image: Some(columns4 + 1), ..full },
                ..plain
            };
            let reads: [&[f32]; 7] = [&a, &a, &a, &weights, &bias, &per_image, &residual];
            check(engine, &packed.dispatch(engine.family), &reads, texels, &what);
        }
    }
}

#[test]
fn matmul_finds_heads_by_their_strides() {
    // Two heads of five channels (padded to eight) in each of three images: scores between all pairs of 6 tokens.
    let (images, tokens, heads, padded4) = (3, 6, 2, 2);
    let qkv = numbers(1, images * tokens * heads * padded4 * TEXEL);
    let strides = Strides { row: heads * padded4, image: tokens * heads * padded4, head: padded4 };
    let product = MatMul {
        batch: (images, heads),
        layout: Layout::Transposed,
        a: strides,
        b: strides,
        y: Strides { row: 2, image: heads * tokens * 2, head: tokens * 2 },
        alpha: 0.3,
        ..MatMul::plain(1, tokens, 8, tokens)
    };
    for engine in engines() {
        let reads: [&[f32]; 7] = [&qkv; 7];
        check(engine, &product.dispatch(engine.family), &reads, images * heads * tokens * 2, "heads");
    }
}

#[test]
fn a_dispatch_in_parts_writes_what_it_writes_at_once() {
    let y = Shape::new(2, 20, 20, 68);
    let conv = Conv2d {
        x: y,
        source: Source::default(),
        y,
        kernel: (3, 3),
        stride: 1,
        pad: (1, 1),
        epilogue: EpilogueSpec::default(),
        tile_size: None,
    };
    let product = MatMul { layout: Layout::Packed, ..MatMul::plain(1, 300, 40, 300) };
    for engine in engines() {
        let weights = numbers(2, 1 << 17);
        for (dispatch, texels) in
            [(conv.dispatch(engine.family), y.texels()), (product.dispatch(engine.family), 300 * 75)]
        {
            assert!(dispatch.shader.kernel.splits());
            let input = map(1, y);
            let reads: [&[f32]; 7] = [&input, &input, &input, &weights, &weights, &weights, &weights];
            let whole = engine.run_once(&dispatch, &reads, texels).unwrap();
            assert_eq!(in_parts(engine, &dispatch, &input, &weights, texels), whole, "{}", dispatch.shader);
        }
    }
}

/// Runs a dispatch as one call for each workgroup along x and y.
fn in_parts(engine: &Engine, dispatch: &Dispatch, input: &[f32], weights: &[f32], texels: usize) -> Vec<f32> {
    let storage = |values: &[f32]| {
        let storage = engine.gpu.allocate(engine.storage_kind(), values.len() / TEXEL, "operand").unwrap();
        engine.gpu.upload(&storage, 0, values).unwrap();
        storage
    };
    let (input, weights, result) = (storage(input), storage(weights), storage(&vec![f32::NAN; texels * TEXEL]));
    let pipeline = engine.pipelines(&[&dispatch.shader]).unwrap().remove(0);
    let [wide, high, deep] = dispatch.grid;
    let calls: Vec<_> = (0..wide)
        .flat_map(|x| (0..high).map(move |y| [x, y, 0]))
        .map(|origin| Call {
            pipeline: &pipeline,
            words: call_words([0; MAX_OPERANDS], origin, &dispatch.params),
            operands: vec![&input, &input, &input, &weights, &weights, &weights, &weights, &result],
            grid: [1, 1, deep],
            flops: 0,
            label: "part",
        })
        .collect();
    engine.gpu.submit(&engine.gpu.record(&calls).unwrap()).unwrap();
    engine.gpu.download(&[Region { storage: &result, first: 0, texels }]).unwrap().remove(0)
}

#[test]
fn rows_have_the_same_bits_in_any_tile() {
    // Enough rows for each tile of the tile family in turn; the first sixteen are the same.
    let (k, columns) = (36, 1024);
    for engine in engines() {
        let products = [16, 320, 512, 2048, 4096].map(|rows| {
            let plain = MatMul::plain(1, rows, k, columns);
            let a = map(1, Shape::new(1, 1, 16, k)).repeat(rows / 16);
            let b = map(2, Shape::new(1, 1, k, columns));
            let reads = MatMul::reads(a.as_slice(), b.as_slice());
            let dispatch = plain.dispatch(engine.family);
            let y = run_device(engine, &dispatch, &reads, rows * columns / TEXEL);
            (dispatch.shader, y[..16 * columns].iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        });
        for pair in products.windows(2) {
            assert!(pair[0].1 == pair[1].1, "{} and {}", pair[0].0, pair[1].0);
        }
        if engine.family == Family::Tile {
            assert!(products.windows(2).all(|pair| pair[0].0 != pair[1].0), "each has a tile of its own");
        }
    }
}

#[test]
fn oblong_kernels_agree_with_their_twin_and_the_definition() {
    let cases = [
        // (input, output channels, kernel, stride, padding)
        (Shape::new(1, 1, 1, 1), 1, (1, 7), 1, (0, 3)),
        (Shape::new(2, 5, 9, 6), 10, (7, 1), 1, (3, 0)),
        (Shape::new(1, 17, 17, 33), 35, (1, 7), 1, (0, 3)),
        (Shape::new(3, 8, 8, 12), 3, (3, 1), 1, (1, 0)),
        (Shape::new(1, 7, 12, 5), 2, (1, 3), 1, (0, 1)),
        (Shape::new(1, 6, 4, 8), 20, (5, 3), 2, (2, 1)),
    ];
    for engine in engines() {
        for (x, out, kernel, stride, pad) in cases {
            let side = |side: usize, kernel: usize, pad: usize| (side + 2 * pad - kernel) / stride + 1;
            let y = Shape::new(x.n, side(x.h, kernel.0, pad.0), side(x.w, kernel.1, pad.1), out);
            let (values, weights) = (numbers(1, x.rows() * x.c), numbers(2, out * x.c * kernel.0 * kernel.1));
            let packed = pack(&weights, out, x.c, kernel, engine.family);
            let (source, epilogue) = (Source::default(), EpilogueSpec::default());
            let conv = Conv2d { x, source, y, kernel, stride, pad, epilogue, tile_size: None };
            let input = pack_nchw(&values, x);
            let reads: [&[f32]; 7] = [&input, &input, &input, &packed, &input, &input, &input];
            let what = format!("{x} -> {y} by {kernel:?}");
            let host = check(engine, &conv.dispatch(engine.family), &reads, y.texels(), &what);
            let mut expected = Vec::new();
            for (plane, pixel) in (0..y.n * y.c).flat_map(|plane| (0..y.pixels()).map(move |pixel| (plane, pixel))) {
                let (image, channel, row, column) = (plane / y.c, plane % y.c, pixel / y.w, pixel % y.w);
                let mut sum = 0.0;
                for (c, tap) in (0..x.c).flat_map(|c| (0..kernel.0 * kernel.1).map(move |tap| (c, tap))) {
                    let i = (row * stride + tap / kernel.1).checked_sub(pad.0).filter(|i| *i < x.h);
                    let j = (column * stride + tap % kernel.1).checked_sub(pad.1).filter(|j| *j < x.w);
                    if let (Some(i), Some(j)) = (i, j) {
                        let value = values[((image * x.c + c) * x.h + i) * x.w + j];
                        let weight = weights[(channel * x.c + c) * kernel.0 * kernel.1 + tap];
                        sum += f64::from(value) * f64::from(weight);
                    }
                }
                expected.push(sum);
            }
            assert!(distance_to_definition(&unpack_nchw(&host, y), &expected) < 1e-5, "{what}");
        }
    }
}
