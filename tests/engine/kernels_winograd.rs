//! Winograd's convolution: each stage against its twin, the whole against the convolution of the definition.

use crate::check::{assert_padding_is_zero, check, map, run_device, run_twin};
use crate::common::{distance, engines, numbers};
use downhill::kernels::conv2d::{self, Conv2d};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::winograd::{
    self, Tile, WinogradInput, WinogradOutput, WinogradProducts, WinogradRows, pack, pack_rows, packed_texels,
    rows_packed_texels,
};
use downhill::kernels::{Activation, Engine, Family, Normalised, Source};
use downhill::tensor::{Shape, TEXEL};

const TILES: [Tile; 2] = [Tile::Two, Tile::Four];

/// Maps read, channels written, rows and columns of zeros before.
fn shapes() -> [(Shape, usize, (usize, usize)); 7] {
    [
        (Shape::new(1, 4, 4, 4), 4, (1, 1)),
        (Shape::new(1, 1, 1, 1), 1, (1, 1)),
        (Shape::new(2, 5, 7, 3), 6, (1, 1)),
        (Shape::new(3, 9, 2, 34), 5, (1, 1)),
        (Shape::new(1, 8, 12, 40), 37, (1, 1)),
        (Shape::new(1, 6, 9, 8), 9, (0, 0)),
        (Shape::new(2, 13, 11, 17), 33, (2, 0)),
    ]
}

/// The map written with as many zeros after as before.
fn written(x: Shape, channels: usize, pad: (usize, usize)) -> Shape {
    Shape::new(x.n, x.h + 2 * pad.0 - 2, x.w + 2 * pad.1 - 2, channels)
}

struct Case {
    x: Shape,
    y: Shape,
    pad: (usize, usize),
    epilogue: EpilogueSpec,
    kernel: Vec<f32>,
    /// x, bias, a vector an image, residual.
    data: [Vec<f32>; 4],
}

impl Case {
    fn new((x, channels, pad): (Shape, usize, (usize, usize))) -> Self {
        let y = written(x, channels, pad);
        let vector = |seed, n| map(seed, Shape::vector(n, channels));
        Self {
            x,
            y,
            pad,
            epilogue: EpilogueSpec {
                bias: true,
                per_image: Some(y.c4()),
                activation: Some(Activation::Silu),
                residual: true,
                scale: 0.5,
            },
            kernel: numbers(7, channels * x.c * 9),
            data: [map(1, x), vector(2, 1), vector(3, x.n), map(4, y)],
        }
    }

    fn terms(&self) -> [&[f32]; 3] {
        let [_, bias, per_image, residual] = &self.data;
        [bias, per_image, residual]
    }

    /// What the twin of the plain convolution makes of `x`.
    fn plain(&self, x: &[f32]) -> Vec<f32> {
        let conv = Conv2d {
            x: self.x,
            source: Source::default(),
            y: self.y,
            kernel: (3, 3),
            stride: 1,
            pad: self.pad,
            epilogue: self.epilogue,
            tile_size: None,
        };
        let weights = conv2d::pack(&self.kernel, self.y.c, self.x.c, (3, 3), Family::Tile);
        let [bias, per_image, residual] = self.terms();
        run_twin(&conv.dispatch(Family::Tile), &[x, x, x, &weights, bias, per_image, residual], self.y.texels())
    }

    /// The stages over `share` tiles at a time, each held against its twin: three, or the last two `in_one`, where the
    /// family can.
    fn staged(&self, engine: &Engine, tile: Tile, share: usize, factors: Option<&[f32]>, in_one: bool) -> Vec<f32> {
        let family = engine.family;
        let weights = pack(&self.kernel, self.y.c, self.x.c, tile, family);
        assert_eq!(weights.len(), packed_texels(self.y.c, self.x.c, tile, family) * TEXEL);
        let normalised = factors.map(|_| Normalised { activation: Some(Activation::Silu) });
        let source = Source { normalised, ..Source::default() };
        let [bias, per_image, residual] = self.terms();
        let mut whole = vec![f32::NAN; self.y.texels() * TEXEL];
        let all = self.y.n * tile.image_tiles(self.y);
        for first in (0..all).step_by(share) {
            let tiles = first..first.saturating_add(share).min(all);
            let (x, y, pad) = (self.x, self.y, self.pad);
            let input = WinogradInput { tile, x, source, y, pad, tiles: tiles.clone() };
            let reads: [&[f32]; 3] = [&self.data[0], &self.data[0], factors.unwrap_or(&self.data[0])];
            let transformed = check(engine, &input.dispatch(family), &reads, input.texels(), "input");

            let (tiles_of, epilogue) = (tiles.clone(), self.epilogue);
            let last = WinogradProducts { tile, x, y, tiles: tiles_of, epilogue, tile_size: None };
            let (last, products) = if let Some(dispatch) = last.dispatch(family).filter(|_| in_one) {
                (dispatch, None)
            } else {
                let products = winograd::products(tile, tiles.len(), x, y, family);
                let output = WinogradOutput { tile, y, tiles, epilogue: self.epilogue };
                let t = &transformed;
                let reads = [t, t, t, &weights, &weights, &weights, &weights].map(Vec::as_slice);
                let products = check(engine, &products.dispatch(family), &reads, output.texels(), "products");
                (output.dispatch(family), Some(products))
            };
            let reads: Vec<&[f32]> = match &products {
                Some(products) => vec![products, bias, per_image, residual],
                None => vec![&transformed, &weights, bias, per_image, residual],
            };
            let made = run_device(engine, &last, &reads, y.texels());
            let twin = run_twin(&last, &reads, y.texels());
            for ((whole, made), twin) in whole.iter_mut().zip(made).zip(twin) {
                assert_eq!(made.is_nan(), twin.is_nan(), "both write the same places");
                assert!(made.is_nan() || whole.is_nan(), "a place is written once");
                assert!(made.is_nan() || (made - twin).abs() <= 1e-4 * twin.abs().max(1.0), "output: {made} {twin}");
                if !made.is_nan() {
                    *whole = made;
                }
            }
        }
        whole
    }
}

#[test]
fn the_stages_make_a_convolution() {
    for engine in engines() {
        for case in shapes().map(Case::new) {
            let wanted = case.plain(&case.data[0]);
            for (tile, share) in TILES.into_iter().flat_map(|tile| [(tile, usize::MAX), (tile, 5), (tile, 64)]) {
                for in_one in [false, true] {
                    let made = case.staged(engine, tile, share, None, in_one);
                    let apart = distance(&made, &wanted);
                    assert!(apart < 1e-5, "{} {tile:?}: {apart:e} from the definition", case.x);
                    assert_padding_is_zero(&made, case.y.c, "y");
                }
            }
        }
    }
}

#[test]
fn the_first_stage_normalises_what_lies_inside() {
    for engine in engines() {
        for case in shapes().map(Case::new) {
            // A multiplier and an offset for each channel of an image, zero in the padding.
            let factors = map(5, Shape::new(case.x.n, 1, 2, case.x.c));
            let image = case.x.pixels() * case.x.c4() * TEXEL;
            let row = case.x.c4() * TEXEL;
            let normalised: Vec<f32> = (0..case.data[0].len())
                .map(|at| {
                    let of_channel = at / image * 2 * row + at % row;
                    let v = case.data[0][at] * factors[of_channel] + factors[of_channel + row];
                    v / (1.0 + (-v).exp())
                })
                .collect();
            let wanted = case.plain(&normalised);
            for tile in TILES {
                let apart = distance(&case.staged(engine, tile, usize::MAX, Some(&factors), false), &wanted);
                assert!(apart < 1e-5, "{} {tile:?}: {apart:e} from the definition", case.x);
            }
        }
    }
}

#[test]
fn rows_make_a_convolution_in_one_dispatch() {
    for engine in engines() {
        for case in shapes().map(Case::new) {
            let wanted = case.plain(&case.data[0]);
            for tile in TILES {
                let Case { x, y, pad, epilogue, .. } = case;
                let Some(dispatch) =
                    (WinogradRows { tile, x, source: Source::default(), y, pad, epilogue }).dispatch(engine.family)
                else {
                    assert_eq!(engine.family, Family::Tile);
                    continue;
                };
                let weights = pack_rows(&case.kernel, y.c, x.c, tile, engine.family);
                assert_eq!(weights.len(), rows_packed_texels(y.c, x.c, tile, engine.family) * TEXEL);
                let [bias, per_image, residual] = case.terms();
                let x_data = &case.data[0];
                let reads: [&[f32]; 7] = [x_data, x_data, x_data, &weights, bias, per_image, residual];
                let made = check(engine, &dispatch, &reads, y.texels(), "rows");
                let apart = distance(&made, &wanted);
                assert!(apart < 1e-5, "{x} {tile:?}: {apart:e} from the definition");
                assert_padding_is_zero(&made, y.c, "y");
            }
        }
    }
}

/// Blocks of 4, 16, 32 and 64 tiles, and an end of each that is not there.
#[test]
fn the_last_stages_in_one_are_those_by_themselves_with_any_number_of_tiles() {
    let large = |channels| (Shape::new(1, 4, 4, channels), channels);
    for engine in engines() {
        let family = engine.family;
        for tile in TILES {
            for (columns, (x, channels)) in [(3, large(40)), (13, large(36)), (70, large(33)), (131, large(160))] {
                let y = Shape::new(1, 2 * tile.outputs(), columns.min(66) * tile.outputs(), channels);
                let (x, tiles) = (Shape { h: y.h, w: y.w, ..x }, 0..columns);
                let epilogue = EpilogueSpec { bias: true, ..EpilogueSpec::default() };
                let last = WinogradProducts { tile, x, y, tiles: tiles.clone(), epilogue, tile_size: None };
                let Some(dispatch) = last.dispatch(family) else { continue };
                let products = winograd::products(tile, columns, x, y, family).dispatch(family);
                let output = WinogradOutput { tile, y, tiles, epilogue };
                let transformed = numbers(1, tile.positions() * columns * x.c4() * TEXEL);
                let weights = pack(&numbers(2, y.c * x.c * 9), y.c, x.c, tile, family);
                let (t, w, bias) = (&transformed[..], &weights[..], &map(3, Shape::vector(1, channels))[..]);
                let products = run_device(engine, &products, &[t, t, t, w, t, t, t], output.texels());
                let wanted = run_device(engine, &output.dispatch(family), &[&products, bias, t, t], y.texels());
                let made = run_device(engine, &dispatch, &[t, w, bias, t, t], y.texels());
                let scale = wanted.iter().filter(|v| v.is_finite()).fold(0f32, |most, v| most.max(v.abs()));
                for (made, wanted) in made.iter().zip(&wanted) {
                    assert_eq!(made.is_nan(), wanted.is_nan(), "both write the same places");
                    assert!(
                        made.is_nan() || (made - wanted).abs() <= 1e-5 * scale,
                        "{}: {made} {wanted}",
                        dispatch.shader
                    );
                }
            }
        }
    }
}

#[test]
fn loops_that_a_driver_would_stop_are_not_asked_of_it() {
    let stage = |channels| {
        let y = Shape::new(1, 4, 4, channels);
        let epilogue = EpilogueSpec::default();
        let stage = WinogradProducts { tile: Tile::Four, x: y, y, tiles: 0..1, epilogue, tile_size: None };
        stage.dispatch(Family::Lanes { width: 8 })
    };
    assert!(stage(2560).is_some());
    assert!(stage(4096).is_none());
    assert!(stage(8192).is_none());
}
