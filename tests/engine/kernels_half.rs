//! Weights in float16: each kernel that reads weights against its twin, and what is stored against what is meant.

use crate::check::{assert_padding_is_zero, check, map, run_device, run_twin};
use crate::common::{distance, engines, numbers};
use downhill::gpu::Region;
use downhill::kernels::conv2d::{self, Conv2d};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::matmul::{Layout, MatMul};
use downhill::kernels::winograd::{self, Tile, WinogradProducts, WinogradRows};
use downhill::kernels::{Activation, Dispatch, Family, Source};
use downhill::tensor::{Precision, Shape, TEXEL};
use half::f16;

/// What is left of each number in float16.
fn rounded(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect()
}

/// The dispatch with its weights in float16.
fn with_half_weights(mut dispatch: Dispatch) -> Dispatch {
    dispatch.shader.halves = dispatch.shader.weights_place().into_iter().collect();
    assert!(dispatch.shader.to_string().ends_with("=f16>"), "{}", dispatch.shader);
    dispatch
}

fn epilogue(y: Shape) -> EpilogueSpec {
    EpilogueSpec { bias: true, per_image: Some(y.c4()), activation: Some(Activation::Silu), residual: true, scale: 0.5 }
}

/// Bias, a vector an image, residual.
fn terms(y: Shape) -> [Vec<f32>; 3] {
    [map(3, Shape::vector(1, y.c)), map(4, Shape::vector(y.n, y.c)), map(5, y)]
}

#[test]
fn convolutions_read_half_weights_as_their_twins_do() {
    let cases = [
        (Shape::new(1, 1, 1, 3), 5, 3, 1),
        (Shape::new(2, 7, 7, 6), 10, 3, 1),
        (Shape::new(1, 9, 17, 33), 35, 3, 1),
        (Shape::new(3, 8, 8, 40), 64, 3, 2),
        (Shape::new(1, 4, 4, 129), 36, 3, 1),
        (Shape::new(1, 6, 6, 8), 8, 1, 2),
    ];
    for engine in engines() {
        for (x, out, kernel, stride) in cases {
            let pad = kernel / 2;
            let extent = |side: usize| (side + 2 * pad - kernel) / stride + 1;
            let y = Shape::new(x.n, extent(x.h), extent(x.w), out);
            let weight = numbers(2, out * x.c * kernel * kernel);
            let weights = rounded(conv2d::pack(&weight, out, x.c, (kernel, kernel), engine.family));
            let ([bias, per_image, residual], input) = (terms(y), map(1, x));
            let conv = Conv2d {
                x,
                source: Source::default(),
                y,
                kernel: (kernel, kernel),
                stride,
                pad: (pad, pad),
                epilogue: epilogue(y),
                tile_size: None,
            };
            let reads: [&[f32]; 7] = [&input, &input, &input, &weights, &bias, &per_image, &residual];
            let dispatch = with_half_weights(conv.dispatch(engine.family));
            let made = check(engine, &dispatch, &reads, y.texels(), &format!("{x} -> {y}"));
            assert_padding_is_zero(&made, y.c, "y");
        }
    }
}

#[test]
fn maps_are_read_and_written_in_float16() {
    let (x, y) = (Shape::new(2, 9, 17, 33), Shape::new(2, 9, 17, 35));
    let engine = engines().iter().find(|engine| engine.family == Family::Tile).expect("an engine of storage buffers");
    let conv = Conv2d {
        x,
        source: Source::default(),
        y,
        kernel: (3, 3),
        stride: 1,
        pad: (1, 1),
        epilogue: EpilogueSpec { per_image: None, ..epilogue(y) },
        tile_size: None,
    };
    let weights = rounded(conv2d::pack(&numbers(2, 35 * 33 * 9), 35, 33, (3, 3), engine.family));
    let [bias, _, residual] = terms(y);
    let (input, residual) = (rounded(map(1, x)), rounded(residual));
    let reads: [&[f32]; 7] = [&input, &input, &input, &weights, &bias, &bias, &residual];
    let mut dispatch = conv.dispatch(engine.family);
    // x, weights, residual and what is written; bias and what is not there stay as they are.
    dispatch.shader.halves = vec![0, 3, 6, 7];
    let name = dispatch.shader.to_string();
    assert!(name.ends_with("x=f16,weights=f16,residual=f16,y=f16>"), "{name}");
    let host = rounded(run_twin(&dispatch, &reads, y.texels()));
    let device = run_device(engine, &dispatch, &reads, y.texels());
    assert_eq!(rounded(device.clone()), device, "what comes back are numbers of float16");
    assert_padding_is_zero(&device, y.c, "y");
    // Where device and twin differ in the last bit one may be rounded up and the other down: seldom, and by one step of
    // eleven bits.
    let apart = device.iter().zip(&host).filter(|(a, b)| a != b);
    let far = apart.clone().filter(|(a, b)| (*a - *b).abs() > a.abs().max(1e-3) / 1000.0).count();
    assert!(far == 0 && apart.count() * 100 < host.len(), "{far} of {} are apart", host.len());
}

#[test]
fn products_read_half_weights_as_their_twins_do() {
    let cases = [(1, 1, 1), (3, 5, 7), (17, 33, 35), (49, 16, 49), (65, 130, 129), (70, 257, 258)];
    for engine in engines() {
        for (rows, k, columns) in cases {
            let y = Shape::new(1, 1, rows, columns);
            let weights = rounded(conv2d::pack(&numbers(2, columns * k), columns, k, (1, 1), engine.family));
            let ([bias, per_image, residual], a) = (terms(y), map(1, Shape::new(1, 1, rows, k)));
            let plain = MatMul::plain(1, rows, k, columns);
            let product = MatMul { layout: Layout::Packed, epilogue: epilogue(y), ..plain };
            let reads: [&[f32]; 7] = [&a, &a, &a, &weights, &bias, &per_image, &residual];
            let dispatch = with_half_weights(product.dispatch(engine.family));
            let made = check(engine, &dispatch, &reads, y.texels(), &format!("{rows}x{k}x{columns}"));
            assert_padding_is_zero(&made, columns, "y");
        }
    }
}

#[test]
fn transformed_half_weights_make_the_convolution_but_for_their_rounding() {
    let (x, y) = (Shape::new(2, 9, 13, 40), Shape::new(2, 9, 13, 37));
    let (pad, none) = ((1, 1), EpilogueSpec::default());
    let (input, kernel) = (map(1, x), numbers(7, y.c * x.c * 9));
    for engine in engines() {
        let family = engine.family;
        let (source, kernel_size) = (Source::default(), (3, 3));
        let plain = Conv2d { x, source, y, kernel: kernel_size, stride: 1, pad, epilogue: none, tile_size: None };
        let plain = plain.dispatch(family);
        let weights = conv2d::pack(&kernel, y.c, x.c, (3, 3), family);
        let wanted = run_twin(&plain, &MatMul::reads(&input[..], &weights[..]), y.texels());
        for tile in [Tile::Two, Tile::Four] {
            if let Some(rows) =
                (WinogradRows { tile, x, source: Source::default(), y, pad, epilogue: none }).dispatch(family)
            {
                let weights = rounded(winograd::pack_rows(&kernel, y.c, x.c, tile, family));
                let reads: [&[f32]; 7] = MatMul::reads(&input, &weights);
                let made = check(engine, &with_half_weights(rows), &reads, y.texels(), "rows");
                println!("rows {tile:?} {:e}", distance(&made, &wanted));
                assert!(distance(&made, &wanted) < 1e-3, "rows, {tile:?}: {:e}", distance(&made, &wanted));
            }
            let rows = x.n * tile.image_tiles(y);
            let products = winograd::products(tile, rows, x, y, family);
            let weights = rounded(winograd::pack(&kernel, y.c, x.c, tile, family));
            let positions = tile.positions();
            let tiles = map(8, Shape::new(positions, 1, rows, x.c));
            let reads: [&[f32]; 7] = MatMul::reads(&tiles, &weights);
            let dispatch = with_half_weights(products.dispatch(family));
            check(engine, &dispatch, &reads, positions * rows * y.c4(), "products");

            let last = WinogradProducts { tile, x, y, tiles: 0..rows, epilogue: none, tile_size: None };
            if let Some(last) = last.dispatch(family) {
                let reads: [&[f32]; 5] = [&tiles, &weights, &tiles, &tiles, &tiles];
                check(engine, &with_half_weights(last), &reads, y.texels(), "products and last stage");
            }
        }
    }
}

/// Numbers that a sloppy conversion would lose: zeros, the largest, the least normal and subnormal ones, ties.
#[test]
fn every_number_of_float16_is_stored_and_read() {
    let all: Vec<f32> = (0..=u16::MAX).map(f16::from_bits).filter(|h| h.is_finite()).map(f16::to_f32).collect();
    for engine in engines() {
        let kind = engine.family.storage_kind(Precision::Float16);
        let storage = engine.gpu.allocate(kind, 3001 + all.len() / TEXEL, "halves").unwrap();
        engine.gpu.upload(&storage, 3001, &all).unwrap();
        let region = Region { storage: &storage, first: 3001, texels: all.len() / TEXEL };
        assert_eq!(engine.gpu.download(&[region]).unwrap()[0], all);

        // 1 times a number is the number.
        let columns = all.len();
        let weights = conv2d::pack(&all, columns, 1, (1, 1), engine.family);
        let product = MatMul { layout: Layout::Packed, ..MatMul::plain(1, 1, 1, columns) };
        let one = [1.0, 0.0, 0.0, 0.0];
        let reads: [&[f32]; 7] = MatMul::reads(&one, &weights);
        let dispatch = with_half_weights(product.dispatch(engine.family));
        assert_eq!(run_device(engine, &dispatch, &reads, columns / TEXEL), all);

        let between = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 2.0f32.powi(-25)];
        engine.gpu.upload(&storage, 5, &between).unwrap();
        let read = engine.gpu.download(&[Region { storage: &storage, first: 5, texels: 1 }]).unwrap();
        assert_eq!(read[0], [1.0, 1.0 + 1.0 / 512.0, 65504.0, 0.0], "ties go to even");
    }
}
