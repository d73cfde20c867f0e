//! Winograd's convolution: each stage against its twin, the whole against the convolution of the definition.

mod common;

use common::*;
use downhill::kernels::conv2d::{self, Conv2d};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::winograd::{
    self, Tile, WinogradInput, WinogradOutput, WinogradRows, pack, pack_rows, packed_texels, rows_packed_texels,
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
        };
        let weights = conv2d::pack(&self.kernel, self.y.c, self.x.c, (3, 3), Family::Tile);
        let [bias, per_image, residual] = self.terms();
        run_twin(&conv.dispatch(Family::Tile), &[x, x, x, &weights, bias, per_image, residual], self.y.texels())
    }

    /// The three stages over `share` tiles at a time, each held against its twin.
    fn staged(&self, engine: &Engine, tile: Tile, share: usize, factors: Option<&[f32]>) -> Vec<f32> {
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

            let products = winograd::products(tile, tiles.len(), x, y, family);
            let output = WinogradOutput { tile, y, tiles, epilogue: self.epilogue };
            let t = &transformed;
            let reads = [t, t, t, &weights, &weights, &weights, &weights].map(Vec::as_slice);
            let products = check(engine, &products.dispatch(family), &reads, output.texels(), "products");

            let reads: [&[f32]; 4] = [&products, bias, per_image, residual];
            let made = run_device(engine, &output.dispatch(family), &reads, y.texels());
            let twin = run_twin(&output.dispatch(family), &reads, y.texels());
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
fn three_stages_make_a_convolution() {
    for engine in engines() {
        for case in shapes().map(Case::new) {
            let wanted = case.plain(&case.data[0]);
            for (tile, share) in TILES.into_iter().flat_map(|tile| [(tile, usize::MAX), (tile, 5), (tile, 64)]) {
                let made = case.staged(engine, tile, share, None);
                let apart = distance(&made, &wanted);
                assert!(apart < 1e-5, "{} {tile:?}: {apart:e} from the definition", case.x);
                assert_padding_is_zero(&made, case.y.c, "y");
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
                let apart = distance(&case.staged(engine, tile, usize::MAX, Some(&factors)), &wanted);
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
