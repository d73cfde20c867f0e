//! Group and layer normalisation and softmax: shader against CPU twin over awkward shapes, in both families; twin
//! against the definition in float64.

use crate::check::{assert_padding_is_zero, check, check_within, map, run_device, run_twin};
use crate::common::{distance, engines, numbers};
use crate::definition::distance_to_definition;
use downhill::kernels::group_norm::{GroupNormFactors, GroupNormFold, Moments, ScaleShift};
use downhill::kernels::layer_norm::LayerNorm;
use downhill::kernels::softmax::{Causal, Softmax};
use downhill::kernels::{Activation, Dispatch, Engine};
use downhill::tensor::{Shape, TEXEL, pack_nchw, unpack_nchw};

/// A group normalisation with its operands as NCHW data.
struct Case {
    x: Shape,
    values: Vec<f32>,
    groups: usize,
    chunk: usize,
    eps: f32,
    weight: Vec<f32>,
    bias: Vec<f32>,
    modulation: Option<Vec<f32>>,
    activation: Option<Activation>,
    /// Statistics and factors in one dispatch, where there is a kernel for it.
    at_once: bool,
}

impl Case {
    fn new(x: Shape, groups: usize) -> Self {
        Self {
            x,
            values: numbers(1, x.n * x.c * x.pixels()),
            groups,
            chunk: Moments::chunk_pixels(x),
            eps: 1e-5,
            weight: numbers(2, x.c),
            bias: numbers(3, x.c),
            modulation: None,
            activation: None,
            at_once: true,
        }
    }

    fn moments(&self) -> Moments {
        Moments { x: self.x, joined: None, chunk: self.chunk }
    }

    fn fold(&self) -> GroupNormFold {
        GroupNormFold {
            images: self.x.n,
            channels: self.x.c,
            groups: self.groups,
            eps: self.eps,
            pixels: self.x.pixels(),
            chunk: self.chunk,
            modulation: self.modulation.as_ref().map(|_| (2 * self.x.c).div_ceil(TEXEL)),
        }
    }

    fn factors(&self) -> GroupNormFactors {
        let GroupNormFold { groups, eps, modulation, .. } = self.fold();
        GroupNormFactors { x: self.x, joined: None, groups, eps, modulation }
    }

    fn scale_shift(&self) -> ScaleShift {
        ScaleShift { x: self.x, activation: self.activation }
    }

    /// Runs the two or three stages through `run`, which is given a dispatch, its operands and the texels it writes.
    fn run(&self, engine: &Engine, mut run: impl FnMut(&Dispatch, &[&[f32]], usize) -> Vec<f32>) -> Vec<f32> {
        let (x, c4) = (pack_nchw(&self.values, self.x), self.x.c4());
        let vector = |values: &[f32]| pack_nchw(values, Shape::vector(1, self.x.c));
        let modulation = match &self.modulation {
            Some(values) => pack_nchw(values, Shape::vector(self.x.n, 2 * self.x.c)),
            None => vec![f32::NAN; TEXEL],
        };
        let (weight, bias, texels) = (vector(&self.weight), vector(&self.bias), self.x.n * c4 * 2);
        let at_once = self.factors().dispatch(engine.family).filter(|_| self.at_once);
        let factors = if let Some(at_once) = at_once {
            run(&at_once, &[&x, &x, &weight, &bias, &modulation], texels)
        } else {
            let moments_texels = self.x.n * self.moments().chunks() * c4 * 2;
            let moments = run(&self.moments().dispatch(engine.family), &[&x, &x], moments_texels);
            run(&self.fold().dispatch(engine.family), &[&moments, &weight, &bias, &modulation], texels)
        };
        run(&self.scale_shift().dispatch(engine.family), &[&x, &factors], self.x.texels())
    }

    /// The definition, NCHW, before the activation.
    fn definition(&self) -> Vec<f64> {
        let (pixels, per_group) = (self.x.pixels(), self.x.c / self.groups);
        let values: Vec<f64> = self.values.iter().map(|v| f64::from(*v)).collect();
        let mut y = Vec::new();
        for (group, members) in values.chunks(per_group * pixels).enumerate() {
            let mean = members.iter().sum::<f64>() / members.len() as f64;
            let variance = members.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / members.len() as f64;
            for (index, v) in members.iter().enumerate() {
                let channel = group % self.groups * per_group + index / pixels;
                let normal = (v - mean) / (variance + f64::from(self.eps)).sqrt();
                let affine = f64::from(self.weight[channel]) * normal + f64::from(self.bias[channel]);
                y.push(match &self.modulation {
                    None => affine,
                    Some(m) => {
                        let m = &m[group / self.groups * 2 * self.x.c..];
                        affine * (1.0 + f64::from(m[channel])) + f64::from(m[self.x.c + channel])
                    }
                });
            }
        }
        y
    }
}

/// As [`check`]. Where x * a and b all but cancel, the last stage differs by the rounding of x * a, which a GPU may
/// leave out.
fn check_stage(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize, what: &str) -> Vec<f32> {
    let host = run_twin(dispatch, reads, texels);
    let most = |values: &[f32]| values.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    let rounded = match (dispatch.shader.kernel.name, reads) {
        ("scale_shift", [x, factors]) => f32::EPSILON * most(x) * most(factors) / most(&host),
        _ => 0.0,
    };
    check_within(engine, dispatch, reads, texels, what, 1e-5 + rounded)
}

/// Shapes and numbers of groups: single values, groups of 1, 2, 3, 4, 6, 8, 10 and 12 channels, one group, several
/// chunks, sets of groups of which the last is not full, more channel texels than a workgroup has invocations, in whole
/// texels and not.
fn shapes() -> [(Shape, usize); 15] {
    [
        (Shape::new(1, 1, 1, 1), 1),
        (Shape::new(2, 1, 1, 6), 3),
        (Shape::new(2, 7, 5, 6), 2),
        (Shape::new(1, 5, 13, 3), 1),
        (Shape::new(2, 3, 3, 7), 7),
        (Shape::new(3, 8, 8, 32), 8),
        (Shape::new(1, 40, 41, 10), 5),
        (Shape::new(2, 33, 31, 36), 3),
        (Shape::new(1, 16, 16, 130), 13),
        (Shape::new(3, 1, 1, 64), 8),
        (Shape::new(3, 9, 7, 32), 4),
        (Shape::new(1, 6, 5, 18), 3),
        (Shape::new(1, 4, 3, 540), 1),
        (Shape::new(2, 3, 2, 1036), 1),
        (Shape::new(2, 3, 2, 1027), 1),
    ]
}

#[test]
fn group_norm_agrees_with_its_twin_and_the_definition() {
    for engine in engines() {
        for (x, groups) in shapes() {
            for (modulated, chunk, at_once) in
                [(false, None, false), (true, Some(7), false), (false, None, true), (true, None, true)]
            {
                let mut case = Case::new(x, groups);
                case.at_once = at_once;
                case.chunk = chunk.unwrap_or(case.chunk);
                case.modulation = modulated.then(|| numbers(4, x.n * 2 * x.c));
                let what = format!("{x} in {groups} groups, chunks of {}", case.chunk);
                let y = case.run(engine, |dispatch, reads, texels| check_stage(engine, dispatch, reads, texels, &what));
                assert_padding_is_zero(&y, x.c, &what);
                let apart = distance_to_definition(&unpack_nchw(&y, x), &case.definition());
                // A group of one value has no deviation: x * a and b are |x| / sqrt(eps), and all but cancel.
                let tolerance = if x.pixels() * x.c == groups { 3e-4 } else { 2e-6 };
                assert!(apart < tolerance, "{what}: {apart:e} from the definition");
            }
        }
    }
}

#[test]
fn group_norm_applies_its_activation() {
    let mut case = Case::new(Shape::new(2, 5, 7, 6), 2);
    let plain = case.definition();
    case.activation = Some(Activation::Silu);
    let expected: Vec<f64> = plain.iter().map(|v| v / (1.0 + (-v).exp())).collect();
    for engine in engines() {
        let y = case.run(engine, |dispatch, reads, texels| check(engine, dispatch, reads, texels, "silu"));
        assert_padding_is_zero(&y, case.x.c, "silu");
        assert!(distance_to_definition(&unpack_nchw(&y, case.x), &expected) < 2e-6);
    }
}

#[test]
fn group_norm_survives_a_mean_of_a_thousand_deviations() {
    // Sums of squares in float32 would have no digit of the variance left.
    let shapes = [
        (Shape::new(2, 33, 31, 36), 3),
        (Shape::new(1, 17, 19, 6), 6),
        (Shape::new(1, 64, 64, 6), 2),
        (Shape::new(1, 33, 31, 40), 5),
        (Shape::new(1, 3, 3, 1036), 1),
    ];
    for ((x, groups), at_once) in shapes.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let mut case = Case::new(x, groups);
        case.at_once = at_once;
        let pixels = x.pixels();
        // Each channel far from zero, and channels of a group a little apart.
        for (index, v) in case.values.iter_mut().enumerate() {
            *v = 1000.0 + (index / pixels % 5) as f32 * 0.25 + *v * 1.7;
        }
        let expected = case.definition();
        for engine in engines() {
            let what = format!("{x} far from zero");
            let mut factors = Vec::new();
            let y = case.run(engine, |dispatch, reads, texels| {
                let wrote = check_within(engine, dispatch, reads, texels, &what, 1e-4);
                factors =
                    if dispatch.shader.kernel.name.starts_with("group_norm") { wrote.clone() } else { factors.clone() };
                wrote
            });
            // x * a and b are a thousand times their sum, so its last three digits are lost; not those of a.
            let apart = distance_to_definition(&unpack_nchw(&y, x), &expected);
            assert!(apart < 3e-4, "{what}: {apart:e} from the definition");
            let slopes: Vec<f64> = (0..x.c)
                .map(|channel| {
                    let plane = channel * pixels;
                    let (first, last) = (plane, plane + pixels - 1);
                    let rise = expected[last] - expected[first];
                    rise / (f64::from(case.values[last]) - f64::from(case.values[first]))
                })
                .collect();
            let apart = distance_to_definition(&factors[..x.c], &slopes);
            assert!(apart < 2e-6, "{what}: multipliers {apart:e} from the definition");
        }
    }
}

#[test]
fn group_norm_of_an_image_is_the_same_bits_in_any_batch() {
    for engine in engines() {
        let shapes = [(Shape::new(3, 33, 31, 36), 3), (Shape::new(4, 7, 5, 6), 2)];
        for ((x, groups), at_once) in shapes.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let batch = Case { at_once, ..Case::new(x, groups) };
            let together = batch.run(engine, |dispatch, reads, texels| run_device(engine, dispatch, reads, texels));
            let (image_values, image_length) = (x.c * x.pixels(), x.texels() / x.n * TEXEL);
            for image in 0..x.n {
                let one = Shape { n: 1, ..x };
                let values = batch.values[image * image_values..][..image_values].to_vec();
                let alone = Case { values, at_once, ..Case::new(one, groups) };
                let y = alone.run(engine, |dispatch, reads, texels| run_device(engine, dispatch, reads, texels));
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let expected = &together[image * image_length..][..image_length];
                assert_eq!(bits(&y), bits(expected), "{x}: image {image}");
            }
        }
    }
}

#[test]
fn constant_channels_become_their_bias() {
    let mut case = Case::new(Shape::new(1, 9, 8, 5), 5);
    case.values.fill(-3.7);
    for engine in engines() {
        let y = case.run(engine, |dispatch, reads, texels| check_stage(engine, dispatch, reads, texels, "constant"));
        for pixel in y.chunks(2 * TEXEL) {
            assert!(distance(&pixel[..5], &case.bias) < 1e-4, "{pixel:?} is not {:?}", case.bias);
        }
    }
}

/// Rows and channels of layer normalisations: single values, ragged texels, more rows than a workgroup has.
const LAYERS: [(usize, usize); 9] =
    [(1, 1), (1, 2), (3, 5), (65, 7), (130, 33), (2, 1027), (77, 64), (67, 130), (5, 320)];

fn layer_norm(channels: usize, x: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let normalised = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / channels as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
        let scale = (variance + f64::from(1e-5f32)).sqrt().recip();
        let affine =
            |(channel, v): (usize, &f64)| (v - mean) * scale * f64::from(weight[channel]) + f64::from(bias[channel]);
        row.iter().enumerate().map(affine).collect::<Vec<_>>()
    };
    x.chunks(channels).flat_map(normalised).collect()
}

#[test]
fn layer_norm_agrees_with_its_twin_and_the_definition() {
    for engine in engines() {
        for (rows, channels) in LAYERS {
            // Plain; all far from zero; one channel far from the others, as in transformers of text.
            for (shift, outlier) in [(0.0, 0.0), (1000.0, 0.0), (0.0, 300.0)] {
                let what = format!("{rows} x {channels} from {shift}, an outlier of {outlier}");
                let mut values = numbers(1, rows * channels);
                for (at, v) in values.iter_mut().enumerate() {
                    *v += shift + if at % channels == 0 { outlier } else { 0.0 };
                }
                let [weight, bias] = [2, 3].map(|seed| numbers(seed, channels));
                // A row of the map is a pixel, and its channels lie together.
                let in_rows = |values: &[f32]| -> Vec<f32> {
                    let padded = |row: &[f32]| [row, &vec![0.0; channels.next_multiple_of(TEXEL) - channels]].concat();
                    values.chunks(channels).flat_map(padded).collect()
                };
                let x = in_rows(&values);
                let reads: [&[f32]; 3] = [&x, &in_rows(&weight), &in_rows(&bias)];
                let norm = LayerNorm { rows, channels, eps: 1e-5 };
                let y = check(engine, &norm.dispatch(engine.family), &reads, x.len() / TEXEL, &what);
                assert_padding_is_zero(&y, channels, &what);
                let live: Vec<f32> =
                    y.chunks(channels.next_multiple_of(TEXEL)).flat_map(|row| &row[..channels]).copied().collect();
                let wide: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                let apart = distance_to_definition(&live, &layer_norm(channels, &wide, &weight, &bias));
                assert!(apart < 3e-6, "{what}: {apart:e} from the definition");
            }
        }
    }
}

#[test]
fn softmax_agrees_with_its_twin_and_the_definition() {
    for engine in engines() {
        // Rows of less than a texel to more than an invocation of the tile family can hold, and what lies between its
        // variants.
        let sizes = [(1, 1), (9, 1), (1, 2), (3, 5), (65, 7), (130, 33), (67, 64), (5, 256), (6, 257)];
        let long = [(5, 1023), (6, 1024), (2, 1027), (3, 4096), (2, 4099), (1, 9001)];
        for (rows, columns) in sizes.into_iter().chain(long) {
            for (scale, shift) in [(1.0, 0.0), (40.0, 0.0), (3.0, -1e4)] {
                let what = format!("{rows} x {columns}, {scale} {shift:+}");
                let mut x = map(1, Shape::new(1, 1, rows, columns));
                for row in x.chunks_mut(columns.next_multiple_of(TEXEL)) {
                    row[..columns].iter_mut().for_each(|v| *v = *v * scale + shift);
                    row[columns..].fill(f32::NAN);
                }
                let texels = x.len() / TEXEL;
                let softmax = Softmax { rows, columns, causal: None };
                let y = check(engine, &softmax.dispatch(engine.family), &[&x], texels, &what);
                assert_padding_is_zero(&y, columns, &what);
                let padded = columns.next_multiple_of(TEXEL);
                for (x, y) in x.chunks(padded).zip(y.chunks(padded)) {
                    let most = x[..columns].iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let powers: Vec<_> = x[..columns].iter().map(|v| f64::from(v - most).exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    let expected: Vec<_> = powers.iter().map(|power| power / sum).collect();
                    assert!(distance_to_definition(&y[..columns], &expected) < 3e-6, "{what}: {y:?}");
                }
            }
        }
    }
}

#[test]
fn causal_softmax_shares_what_a_query_may_see() {
    for engine in engines() {
        // Heads, queries of each at a time, the first of them, keys: whole heads, parts of them, more queries than
        // keys.
        for (heads, queries, first, columns) in
            [(1, 1, 0, 1), (3, 5, 0, 5), (2, 77, 0, 77), (4, 32, 32, 77), (1, 13, 64, 77), (2, 9, 0, 6), (2, 1, 3, 7)]
                .into_iter()
                .chain([(2, 5, 300, 601), (1, 3, 1500, 3001), (1, 3, 2999, 5001)])
        {
            let rows = heads * queries;
            let what = format!("{heads} heads, queries {first} to {}, {columns} keys", first + queries);
            let mut x = map(1, Shape::new(1, 1, rows, columns));
            let padded = columns.next_multiple_of(TEXEL);
            let seen = |row: usize| columns.min(first + row % queries + 1);
            for (row, x) in x.chunks_mut(padded).enumerate() {
                for (at, hidden) in x[seen(row)..].iter_mut().enumerate() {
                    *hidden = [1e5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY][at % 4];
                }
            }
            let softmax = Softmax { rows, columns, causal: Some(Causal { queries, first }) };
            let y = check(engine, &softmax.dispatch(engine.family), &[&x], x.len() / TEXEL, &what);
            let device = run_device(engine, &softmax.dispatch(engine.family), &[&x], x.len() / TEXEL);
            for (row, y) in device.chunks(padded).enumerate() {
                assert!(y[seen(row)..].iter().all(|v| *v == 0.0), "{what}, row {row}: a share of what is not seen");
            }
            for (row, (x, y)) in x.chunks(padded).zip(y.chunks(padded)).enumerate() {
                let powers: Vec<_> = x[..seen(row)].iter().map(|v| f64::from(*v).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let mut expected: Vec<_> = powers.iter().map(|power| power / sum).collect();
                expected.resize(padded, 0.0);
                // The twin's sum is one after the other.
                let tolerance = if columns > 1000 { 3e-6 } else { 1e-6 };
                assert!(distance_to_definition(y, &expected) < tolerance, "{what}, row {row}: {y:?}");
            }
        }
    }
}

#[test]
fn softmax_of_more_rows_than_a_row_of_the_grid() {
    let (rows, columns) = (4 * 32768 + 3, 2);
    let x = map(1, Shape::new(1, 1, rows, columns));
    for engine in engines() {
        let softmax = Softmax { rows, columns, causal: None };
        check(engine, &softmax.dispatch(engine.family), &[&x], x.len() / TEXEL, "many rows");
    }
}
