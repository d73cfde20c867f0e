//! Maps read without existing: each layer that reads a joined, upsampled or normalised map writes what it writes for
//! the same map made first.

use crate::check::{check, map, run_device, run_twin};
use crate::common::{distance, engines, numbers};
use downhill::kernels::conv2d::{Conv2d, pack};
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::group_norm::{GroupNormFactors, Moments};
use downhill::kernels::matmul::{Layout, MatMul};
use downhill::kernels::winograd::{Tile, WinogradInput, WinogradRows, pack_rows};
use downhill::kernels::{Activation, Dispatch, Engine, Normalised, Source};
use downhill::tensor::{Shape, TEXEL};

/// A map to be read, and what its source is made of.
struct Case {
    /// What the layer sees.
    x: Shape,
    source: Source,
    /// x, x2, factors.
    operands: [Vec<f32>; 3],
    /// The map that the layer sees, as it would lie if it existed.
    whole: Vec<f32>,
}

impl Case {
    /// `first`: channels of the first map, where there are two.
    fn new(x: Shape, first: Option<usize>, upsampled: bool, normalised: Option<Normalised>) -> Self {
        let up = if upsampled { 2 } else { 1 };
        let stored = Shape { h: x.h / up, w: x.w / up, ..x };
        let second = Shape { c: x.c - first.unwrap_or(0), ..stored };
        let maps = match first {
            Some(c) => [map(1, Shape { c, ..stored }), map(2, second)],
            None => [map(1, stored), vec![f32::NAN; TEXEL]],
        };
        // A multiplier and an offset for each channel of an image, zero in the padding.
        let factors = map(3, Shape::new(x.n, 1, 2, x.c));
        let (row, first_row) = (x.c4() * TEXEL, first.unwrap_or(x.c).next_multiple_of(TEXEL));
        let value = |at: usize| {
            let (image, y, column) = (at / row / x.pixels(), at / row / x.w % x.h, at / row % x.w);
            let (pixel, channel) = ((image * stored.h + y / up) * stored.w + column / up, at % row);
            let value = match channel.checked_sub(first_row) {
                Some(channel) => maps[1][pixel * (row - first_row) + channel],
                None => maps[0][pixel * first_row + channel],
            };
            let Some(Normalised { activation }) = normalised else { return value };
            let of_channel = image * 2 * row + channel;
            let v = value * factors[of_channel] + factors[of_channel + row];
            if activation.is_some() { v / (1.0 + (-v).exp()) } else { v }
        };
        let whole = (0..x.texels() * TEXEL).map(value).collect();
        let [one, two] = maps;
        Self { x, source: Source { joined: first, upsampled, normalised }, operands: [one, two, factors], whole }
    }

    /// Runs the dispatch that reads the source and the one that reads the whole map, with the same further operands;
    /// the first is also held against its twin.
    fn compare(&self, engine: &Engine, [of_source, of_whole]: [Dispatch; 2], others: &[&[f32]], texels: usize) {
        let operands = self.operands.each_ref().map(Vec::as_slice);
        let of_source_reads = [operands.as_slice(), others].concat();
        check(engine, &of_source, &of_source_reads, texels, &format!("{} {:?}", self.x, self.source));
        let whole = [self.whole.as_slice(); 3];
        let made = run_device(engine, &of_source, &of_source_reads, texels);
        let wanted = run_device(engine, &of_whole, &[whole.as_slice(), others].concat(), texels);
        let apart = distance(&made, &wanted);
        assert!(apart < 2e-6, "{} {:?}, {of_source:?}: {apart:e} apart", self.x, self.source);
    }

    /// A dispatch on the source, and on a plain map.
    fn both(&self, dispatch: impl Fn(Source) -> Dispatch) -> [Dispatch; 2] {
        [self.source, Source::default()].map(dispatch)
    }
}

const SILU: Option<Normalised> = Some(Normalised { activation: Some(Activation::Silu) });
const AFFINE: Option<Normalised> = Some(Normalised { activation: None });

fn cases() -> Vec<Case> {
    let x = Shape::new(2, 6, 8, 44);
    vec![
        Case::new(x, Some(4), false, None),
        Case::new(x, Some(40), false, SILU),
        Case::new(Shape::new(1, 4, 4, 7), Some(4), false, AFFINE),
        Case::new(x, None, false, SILU),
        Case::new(Shape::new(3, 2, 2, 5), None, false, AFFINE),
        Case::new(x, None, true, None),
        Case::new(Shape::new(2, 10, 2, 3), None, true, None),
    ]
}

#[test]
fn convolutions_read_any_source() {
    for engine in engines() {
        // Channels written: a kernel of the lanes family is for at most four.
        for (case, out) in cases().iter().flat_map(|case| [(case, 13), (case, 3)]) {
            let (x, y) = (case.x, Shape { c: out, ..case.x });
            let (kernel, bias) = (numbers(5, out * x.c * 9), map(6, Shape::vector(1, out)));
            let epilogue = EpilogueSpec { bias: true, ..EpilogueSpec::default() };
            let weights = pack(&kernel, out, x.c, (3, 3), engine.family);
            let conv = |source| {
                Conv2d { x, source, y, kernel: (3, 3), stride: 1, pad: (1, 1), epilogue, tile_size: None }
                    .dispatch(engine.family)
            };
            case.compare(engine, case.both(conv), &[&weights, &bias, &bias, &bias], y.texels());
            for tile in [Tile::Two, Tile::Four] {
                let input =
                    WinogradInput { tile, x, source: case.source, y, pad: (1, 1), tiles: 0..x.n * tile.image_tiles(y) };
                let transform = |source| WinogradInput { source, ..input.clone() }.dispatch(engine.family);
                case.compare(engine, case.both(transform), &[], input.texels());
                let rows = |source| WinogradRows { tile, x, source, y, pad: (1, 1), epilogue }.dispatch(engine.family);
                if let (Some(of_source), Some(of_whole)) = (rows(case.source), rows(Source::default())) {
                    let weights = pack_rows(&kernel, out, x.c, tile, engine.family);
                    case.compare(engine, [of_source, of_whole], &[&weights, &bias, &bias, &bias], y.texels());
                }
            }
        }
    }
}

#[test]
fn joined_maps_are_transformed_in_parts() {
    for engine in engines() {
        for case in cases().into_iter().filter(|case| case.source.joined.is_some()) {
            let (x, source) = (case.x, case.source);
            let y = Shape { c: 13, ..x };
            for tile in [Tile::Two, Tile::Four] {
                let tiles = 0..x.n * tile.image_tiles(y);
                let input = WinogradInput { tile, x, source, y, pad: (1, 1), tiles };
                let [one, two, factors] = case.operands.each_ref().map(Vec::as_slice);
                let whole = run_device(engine, &input.dispatch(engine.family), &[one, two, factors], input.texels());
                let row = x.c4() * TEXEL;
                for (part, dispatch) in input.parts(engine.family) {
                    let first = part.first * TEXEL;
                    let reads = [if part.of_second { two } else { one }, two, &factors[first..]];
                    // Rows that begin at the part's first texel.
                    let texels = input.texels() - part.first;
                    let made = run_device(engine, &dispatch, &reads, texels);
                    let twin = run_twin(&dispatch, &reads, texels);
                    let agree = |(made, twin): (&f32, &f32)| {
                        made.is_nan() == twin.is_nan()
                            && (made.is_nan() || (made - twin).abs() <= 1e-5 * twin.abs().max(1.0))
                    };
                    assert!(made.iter().zip(&twin).all(agree), "{x} {source:?} from {first}");
                    let written = made.iter().enumerate().filter(|(_, value)| !value.is_nan());
                    let channels = if input.parts(engine.family).len() == 1 {
                        row
                    } else if part.of_second {
                        row - first
                    } else {
                        source.joined.unwrap()
                    };
                    assert_eq!(written.clone().count(), made.len().div_ceil(row) * channels);
                    for (at, value) in written {
                        assert_eq!(value.to_bits(), whole[at + first].to_bits(), "{x} {source:?} {at} + {first}");
                    }
                }
            }
        }
    }
}

#[test]
fn products_read_joined_and_normalised_maps() {
    for engine in engines() {
        for case in cases().into_iter().filter(|case| !case.source.upsampled) {
            let (x, y) = (case.x, Shape { c: 37, ..case.x });
            assert!(MatMul::normalises(engine.family, x.pixels()));
            let weights = pack(&numbers(5, 37 * x.c), 37, x.c, (1, 1), engine.family);
            let product = |source| {
                let plain = MatMul::plain(1, x.rows(), x.c, 37);
                let packed = MatMul { layout: Layout::Packed, rows_per_image: x.pixels(), source, ..plain };
                packed.dispatch(engine.family)
            };
            case.compare(engine, case.both(product), &[weights.as_slice(); 4], y.texels());
        }
    }
}

#[test]
fn statistics_are_taken_of_joined_maps() {
    for engine in engines() {
        // More channel texels than a workgroup of the tile family has invocations.
        let wide = Case::new(Shape::new(2, 3, 2, 1032), Some(512), false, None);
        let cases = cases().into_iter().filter(|case| case.source.normalised.is_none()).chain([wide]);
        for case in cases.filter(|case| case.source.joined.is_some()) {
            let x = case.x;
            let moments = |joined| Moments { x, joined, chunk: 7 }.dispatch(engine.family);
            let texels = x.n * x.pixels().div_ceil(7) * x.c4() * 2;
            let reads: Vec<&[f32]> = case.operands[..2].iter().map(Vec::as_slice).collect();
            let made = check(engine, &moments(case.source.joined), &reads, texels, "moments");
            let wanted = run_device(engine, &moments(None), &[&case.whole, &case.whole], texels);
            assert!(distance(&made, &wanted) < 2e-6);

            let vector = map(7, Shape::vector(1, x.c));
            let others: [&[f32]; 3] = [&vector, &vector, &vector];
            // Whole texels, and sets of two and four groups that lie in both maps.
            for groups in [1, x.c / 4, 2, x.c / 2, 4] {
                let factors = |joined| {
                    GroupNormFactors { x, joined, groups, eps: 1e-5, modulation: None }.dispatch(engine.family)
                };
                let (Some(of_parts), Some(of_whole)) = (factors(case.source.joined), factors(None)) else { continue };
                let what = format!("at once, {groups} groups");
                let made = check(engine, &of_parts, &[&reads, others.as_slice()].concat(), x.n * x.c4() * 2, &what);
                let whole: [&[f32]; 2] = [&case.whole, &case.whole];
                let wanted = run_device(engine, &of_whole, &[whole.as_slice(), &others].concat(), x.n * x.c4() * 2);
                assert!(distance(&made, &wanted) < 2e-6, "{what}");
            }
        }
    }
}
