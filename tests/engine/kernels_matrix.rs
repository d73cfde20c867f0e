//! The kernels for matrix units: their twins against those of the tile family, and on an adapter that has such units
//! the shaders against their twins. Lavapipe has them from Mesa 26 on.

use crate::check::{assert_padding_is_zero, check, map, run_twin};
use crate::common::{distance, numbers};
use downhill::kernels::conv2d::{self, Conv2d};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::matmul::{Layout, MatMul};
use downhill::kernels::{Activation, Dispatch, Engine, Family, FamilyName, Source};
use downhill::tensor::{Shape, TEXEL};
use half::f16;

/// An engine of the family, where the adapter has matrix units.
fn engine() -> Option<Engine> {
    let engine = Engine::open(&downhill::Options { family: Some(FamilyName::Matrix), ..downhill::Options::default() })
        .unwrap_or_else(|error| panic!("{error}; run the tests with `sh scripts/with-adapter.sh cargo test`"));
    let found = matches!(engine.family, Family::Matrix { .. });
    if !found {
        println!("`{}` has no matrix units: only the twins are compared", engine.gpu.adapter.name);
    }
    found.then_some(engine)
}

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| f16::from_f32(*value).to_f32()).collect()
}

fn convolutions() -> Vec<Conv2d> {
    let cases = [
        (Shape::new(1, 1, 1, 1), 1, 1, 1),
        (Shape::new(2, 5, 7, 3), 5, 3, 1),
        (Shape::new(2, 9, 13, 40), 37, 3, 1),
        (Shape::new(1, 8, 8, 66), 130, 3, 2),
        (Shape::new(3, 4, 6, 35), 64, 1, 1),
    ];
    let full =
        EpilogueSpec { bias: true, per_image: None, activation: Some(Activation::Silu), residual: true, scale: 0.5 };
    let conv = |(x, out, side, stride): (Shape, usize, usize, usize)| {
        let y = Shape { h: x.h.div_ceil(stride), w: x.w.div_ceil(stride), c: out, ..x };
        let pad = (side / 2, side / 2);
        Conv2d { x, source: Source::default(), y, kernel: (side, side), stride, pad, epilogue: full, tile_size: None }
    };
    cases.into_iter().map(conv).collect()
}

fn products() -> Vec<MatMul> {
    let sizes = [(1, 1, 1), (3, 5, 7), (17, 33, 35), (65, 130, 129), (70, 257, 258)];
    let epilogue = EpilogueSpec { bias: true, residual: true, ..EpilogueSpec::default() };
    let product = |(rows, k, columns)| MatMul {
        layout: Layout::Packed,
        alpha: 0.25,
        epilogue,
        ..MatMul::plain(1, rows, k, columns)
    };
    sizes.into_iter().map(product).collect()
}

/// Operands of dispatches with an epilogue: x, weights, bias, residual.
struct Operands {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    y: Shape,
}

impl Operands {
    fn of_conv(conv: &Conv2d) -> Self {
        let (x, y, side) = (conv.x, conv.y, conv.kernel.0);
        let kernel = numbers(2, y.c * x.c * side * side);
        let weights = conv2d::pack(&kernel, y.c, x.c, conv.kernel, Family::Tile);
        Self { x: map(1, x), weights, bias: map(3, Shape::vector(1, y.c)), residual: map(4, y), y }
    }

    fn of_product(product: &MatMul) -> Self {
        let y = Shape::new(1, 1, product.rows, product.columns);
        let matrix = numbers(2, product.columns * product.k);
        let weights = conv2d::pack(&matrix, product.columns, product.k, (1, 1), Family::Tile);
        let x = map(1, Shape::new(1, 1, product.rows, product.k));
        Self { x, weights, bias: map(3, Shape::vector(1, y.c)), residual: map(4, y), y }
    }

    fn reads(&self) -> [&[f32]; 7] {
        [&self.x, &self.x, &self.x, &self.weights, &self.bias, &self.bias, &self.residual]
    }

    fn rounded(self) -> Self {
        Self { x: rounded(&self.x), weights: rounded(&self.weights), ..self }
    }
}

/// Every case on its dispatch for a family.
fn cases(family: Family) -> Vec<(Dispatch, Operands)> {
    let of_conv = |conv: Conv2d| (conv.dispatch(family), Operands::of_conv(&conv));
    let of_product = |product: MatMul| (product.dispatch(family), Operands::of_product(&product));
    convolutions().into_iter().map(of_conv).chain(products().into_iter().map(of_product)).collect()
}

#[test]
fn the_twins_are_those_of_tiles_with_operands_rounded_to_float16() {
    let both = cases(Family::Matrix { width: 32, side: 16 }).into_iter().zip(cases(Family::Tile));
    for ((matrix, operands), (tile, same)) in both {
        assert!(matrix.shader.kernel.name.ends_with(".matrix"), "{}", matrix.shader);
        let made = run_twin(&matrix, &operands.reads(), operands.y.texels());
        let exact = run_twin(&tile, &same.reads(), same.y.texels());
        let wanted = run_twin(&tile, &same.rounded().reads(), operands.y.texels());
        assert_eq!(made, wanted, "{}", matrix.shader);
        assert!(distance(&made, &exact) < 2e-3, "{}: {:e}", matrix.shader, distance(&made, &exact));
        assert!(made != exact, "{}: nothing was rounded", matrix.shader);
    }
}

#[test]
fn products_of_data_keep_their_precision() {
    let family = Family::Matrix { width: 32, side: 16 };
    for layout in [Layout::Rows, Layout::Transposed] {
        let product = MatMul { layout, ..MatMul::plain(2, 16, 16, 16) };
        assert_eq!(product.dispatch(family).shader, product.dispatch(Family::Tile).shader);
    }
}

#[test]
fn matrix_kernels_agree_with_their_twins() {
    let Some(engine) = engine() else { return };
    for (dispatch, operands) in cases(engine.family) {
        let made = check(&engine, &dispatch, &operands.reads(), operands.y.texels(), &format!("{}", operands.y));
        assert_padding_is_zero(&made, operands.y.c, "y");
        assert_eq!(made.len(), operands.y.texels() * TEXEL);
    }
}
