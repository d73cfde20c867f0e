//! The tiles of products: no bit of a result depends on them.

use crate::check::{check, map, run_device};
use crate::common::{engines, numbers};
use downhill::kernels::conv2d::{self, Conv2d};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::matmul::{Layout, MatMul, Strides};
use downhill::kernels::tiling::{Product, TileSize};
use downhill::kernels::winograd::{self, Tile, WinogradProducts};
use downhill::kernels::{Activation, Dispatch, Engine, Family, Normalised, Source};
use downhill::tensor::{Shape, TEXEL};

/// Every term that an epilogue has.
fn epilogue(columns: usize) -> EpilogueSpec {
    EpilogueSpec {
        bias: true,
        per_image: Some(columns.div_ceil(TEXEL)),
        activation: Some(Activation::Silu),
        residual: true,
        scale: 0.5,
    }
}

/// Asserts that a product has the same bits by tiles of every size, near those of its twin. Returns the sizes.
#[track_caller]
fn assert_same_bits(engine: &Engine, product: impl Into<Product>, reads: &[&[f32]], texels: usize) -> Vec<TileSize> {
    let product = product.into();
    let (family, what) = (engine.family, product.shape().to_string());
    let by_rule = product.dispatch(family).expect("a kernel");
    check(engine, &by_rule, reads, texels, &what);
    let bits = |dispatch: &Dispatch| {
        run_device(engine, dispatch, reads, texels).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let wanted = bits(&by_rule);
    let sizes = product.tile_sizes(family);
    let mut shaders = Vec::new();
    for size in &sizes {
        let tiled = product.by_tiles(Some(*size));
        assert_eq!(tiled.tile_size(family), Some(*size), "{what}");
        let dispatch = tiled.dispatch(family).expect("a kernel");
        assert!(bits(&dispatch) == wanted, "{what}: other bits by tiles of {size}, {}", dispatch.shader);
        assert!(!shaders.contains(&dispatch.shader), "{what}: {size} is another size's kernel");
        shaders.push(dispatch.shader);
    }
    assert!(sizes.is_sorted() && product.tile_size(family).is_none_or(|size| sizes.contains(&size)), "{what}");
    sizes
}

/// Batch, rows, k, columns: less than a texel, less than a tile, a little more than one, rows that evict each other.
const SHAPES: [(usize, usize, usize, usize); 7] = [
    (1, 1, 1, 1),
    (2, 3, 5, 7),
    (3, 17, 33, 35),
    (1, 65, 130, 66),
    (2, 49, 16, 129),
    (1, 130, 7, 133),
    (1, 35, 1024, 34),
];

#[test]
fn matrix_products_have_the_same_bits_by_every_tile() {
    for engine in engines() {
        for (images, rows, k, columns) in SHAPES {
            let (k4, columns4) = (k.div_ceil(TEXEL), columns.div_ceil(TEXEL));
            let plain = MatMul::plain(images, rows, k, columns);
            let texels = images * rows * columns4;
            let a = map(1, Shape::new(images, 1, rows, k));
            let vectors = map(2, Shape::vector(images, columns));
            let residual = map(3, Shape::new(images, 1, rows, columns));
            let b = map(4, Shape::new(images, 1, k, columns));
            let turned = map(4, Shape::new(images, 1, columns, k));
            let packed = conv2d::pack(&numbers(5, columns * k), columns, k, (1, 1), engine.family);
            let transposed = Strides { row: k4, image: columns * k4, head: 0 };
            let weighted = MatMul {
                layout: Layout::Packed,
                rows: images * rows,
                batch: (1, 1),
                rows_per_image: rows,
                epilogue: epilogue(columns),
                ..plain
            };
            let products = [
                (plain, &b),
                (MatMul { layout: Layout::Transposed, b: transposed, alpha: 0.3, ..plain }, &turned),
                (weighted, &packed),
            ];
            for (product, b) in products {
                let reads: [&[f32]; 7] = [&a, &a, &a, b, &vectors, &vectors, &residual];
                assert_eq!(assert_same_bits(engine, product, &reads, texels).len(), 5);
            }
        }
    }
}

/// A tile that normalises what it reads lies in one image, so only some sizes fit.
#[test]
fn products_that_normalise_have_the_same_bits_by_every_tile_that_fits() {
    let normalised = Some(Normalised { activation: Some(Activation::Silu) });
    for engine in engines() {
        // Images, rows per image, sizes in the lanes family.
        for (images, pixels, fitting) in [(3, 4, 1), (2, 24, 2), (3, 48, 3), (2, 192, 5), (2, 36, 1)] {
            for joined in [None, Some(8)] {
                let (k, columns) = (20, 37);
                let source = Source { joined, normalised, ..Source::default() };
                let product = MatMul {
                    layout: Layout::Packed,
                    rows_per_image: pixels,
                    source,
                    epilogue: EpilogueSpec { bias: true, ..EpilogueSpec::default() },
                    ..MatMul::plain(1, images * pixels, k, columns)
                };
                let (first, second) = (joined.unwrap_or(k), k - joined.unwrap_or(8));
                let x = map(1, Shape::new(images, 1, pixels, first));
                let x2 = map(2, Shape::new(images, 1, pixels, second));
                let factors = map(3, Shape::new(images, 1, 2, k));
                let packed = conv2d::pack(&numbers(4, columns * k), columns, k, (1, 1), engine.family);
                let bias = map(5, Shape::vector(1, columns));
                let reads: [&[f32]; 7] = [&x, &x2, &factors, &packed, &bias, &bias, &bias];
                let sizes = assert_same_bits(engine, product, &reads, images * pixels * columns.div_ceil(TEXEL));
                assert_eq!(sizes.len(), if engine.family == Family::Tile { 5 } else { fitting });
                let wanted = TileSize { rows: 64, ..sizes[0] };
                if !sizes.contains(&wanted) {
                    let refused = MatMul { tile_size: Some(wanted), ..product };
                    assert_eq!(refused.dispatch(engine.family), product.dispatch(engine.family));
                }
            }
        }
    }
}

#[test]
fn winograd_products_have_the_same_bits_by_every_tile() {
    for engine in engines() {
        for (tile, all) in [(Tile::Two, 5), (Tile::Four, 3)] {
            for (tiles, input, out) in [(0..1, 3, 1), (0..13, 36, 5), (2..70, 20, 33), (1..19, 68, 66)] {
                let y = Shape::new(2, 7 * tile.outputs() - 1, 5 * tile.outputs(), out);
                let x = Shape { c: input, ..y };
                let products =
                    WinogradProducts { tile, x, y, tiles: tiles.clone(), epilogue: epilogue(out), tile_size: None };
                if products.dispatch(engine.family).is_none() {
                    assert_eq!(products.tile_sizes(engine.family), [], "only software adapters have the kernel");
                    continue;
                }
                let transformed = numbers(1, tile.positions() * tiles.len() * x.c4() * TEXEL);
                let weights = winograd::pack(&numbers(2, out * input * 9), out, input, tile, engine.family);
                let (vectors, residual) = (map(3, Shape::vector(y.n, out)), map(4, y));
                let reads: [&[f32]; 5] = [&transformed, &weights, &vectors, &vectors, &residual];
                assert_eq!(same_written_bits(engine, &products, &reads, y.texels()), all);
            }
        }
    }
}

/// As [`assert_same_bits`], for products that write some tiles of a map alone. Returns the number of sizes.
fn same_written_bits(engine: &Engine, products: &WinogradProducts, reads: &[&[f32]], texels: usize) -> usize {
    let of = |tile_size| {
        let tiled = WinogradProducts { tile_size, ..products.clone() };
        let dispatch = tiled.dispatch(engine.family).expect("a kernel");
        run_device(engine, &dispatch, reads, texels).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let by_rule = products.dispatch(engine.family).expect("a kernel");
    let twin = crate::check::run_twin(&by_rule, reads, texels);
    let wanted = of(None);
    for (made, twin) in wanted.iter().map(|bits| f32::from_bits(*bits)).zip(&twin) {
        assert_eq!(made.is_nan(), twin.is_nan(), "both write the same places");
        assert!(made.is_nan() || (made - twin).abs() <= 1e-5 * twin.abs().max(1.0), "{made} {twin}");
    }
    let sizes = products.tile_sizes(engine.family);
    for size in &sizes {
        assert!(of(Some(*size)) == wanted, "{}: other bits by tiles of {size}", products.shape());
    }
    sizes.len()
}

#[test]
fn convolutions_have_the_same_bits_by_every_tile() {
    for engine in engines() {
        for (x, out, side, stride) in [
            (Shape::new(1, 1, 1, 3), 1, 3, 1),
            (Shape::new(2, 7, 9, 33), 35, 3, 1),
            (Shape::new(3, 8, 8, 12), 70, 3, 2),
            (Shape::new(1, 13, 11, 5), 130, 2, 2),
        ] {
            let pad = side / 3;
            let extent = |extent: usize| (extent + 2 * pad - side) / stride + 1;
            let y = Shape::new(x.n, extent(x.h), extent(x.w), out);
            let conv = Conv2d {
                x,
                source: Source::default(),
                y,
                kernel: (side, side),
                stride,
                pad: (pad, pad),
                epilogue: epilogue(out),
                tile_size: None,
            };
            let weights = conv2d::pack(&numbers(2, out * x.c * side * side), out, x.c, (side, side), engine.family);
            let (input, vectors, residual) = (map(1, x), map(3, Shape::vector(y.n, out)), map(4, y));
            let reads: [&[f32]; 7] = [&input, &input, &input, &weights, &vectors, &vectors, &residual];
            let sizes = assert_same_bits(engine, conv, &reads, y.texels());
            assert_eq!(sizes.len(), if engine.family == Family::Tile { 5 } else { 0 });
        }
    }
}
