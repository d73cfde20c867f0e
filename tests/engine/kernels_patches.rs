//! The kernel of patches: shader against CPU twin over awkward shapes, in both families; twin against the definition.

use crate::check::check_within;
use crate::common::{engines, numbers};
use downhill::kernels::patch_means::{NO_KEY, PatchMeans};
use downhill::tensor::TEXEL;

/// Keys in blocks, and as (taps, log2 count).
type Keys = (Vec<f32>, Vec<(Vec<f32>, f32)>);

fn keys(count: usize, texels: usize, taps: usize, block: usize) -> Keys {
    let values = numbers(3, count * taps);
    let rows = TEXEL * texels + 2;
    let mut laid_out = vec![0.0f32; count.div_ceil(block) * block * rows];
    laid_out.chunks_exact_mut(block * rows).for_each(|keys| keys[(rows - 1) * block..].fill(NO_KEY));
    let mut plain = Vec::new();
    for (at, patch) in values.chunks_exact(taps).enumerate() {
        let keys = &mut laid_out[at / block * block * rows..][..block * rows];
        patch.iter().enumerate().for_each(|(tap, value)| keys[tap * block + at % block] = *value);
        keys[(rows - 2) * block + at % block] = 0.5 * patch.iter().map(|value| value * value).sum::<f32>();
        let count = ((at % 3 + 1) as f32).log2();
        keys[(rows - 1) * block + at % block] = count;
        plain.push((patch.to_vec(), count));
    }
    (laid_out, plain)
}

#[test]
fn means_of_patches_agree_with_their_twin_and_the_definition() {
    for engine in engines() {
        let block = PatchMeans::block(engine.family);
        for (queries, count, taps, channels, per_part) in [
            (1, 1, 1usize, 1, 1),
            (33, block + 1, 9, 1, 1),
            (31, 2 * block, 18, 2, 1),
            (70, 5 * block - 3, 27, 3, 2),
            (5, 3 * block, 12, 4, 100),
            (40, 2 * block + 5, 49, 1, 2),
        ] {
            let texels = taps.div_ceil(TEXEL);
            let (laid_out, plain) = keys(count, texels, taps, block);
            let mut rows = vec![0.0f32; queries * TEXEL * (texels + 1)];
            let values = numbers(5, queries * taps);
            for (at, row) in rows.chunks_exact_mut(TEXEL * (texels + 1)).enumerate() {
                row[..taps].copy_from_slice(&values[at * taps..][..taps]);
                row[TEXEL * texels] = 0.3 * (at % 7 + 1) as f32;
            }
            for differences in [false, true] {
                let centre = taps / channels / 2 * channels;
                let blocks = laid_out.len() / (TEXEL * PatchMeans::block_texels(engine.family, texels));
                let means = PatchMeans { queries, texels, blocks, per_part, centre, channels, differences };
                let texels_written = 2 * queries * means.parts();
                let what = format!("{queries} queries, {count} keys of {taps} taps, differences {differences}");
                let reads: [&[f32]; 2] = [&rows, &laid_out];
                let twin = check_within(engine, &means.dispatch(engine.family), &reads, texels_written, &what, 2e-5);
                // The sums of all parts give the mean of the definition.
                for query in [0, queries / 2, queries - 1] {
                    let row = &rows[query * TEXEL * (texels + 1)..][..TEXEL * (texels + 1)];
                    let weight = |(patch, count): &(Vec<f32>, f32)| -> f64 {
                        let square: f64 =
                            patch.iter().zip(row).map(|(k, q)| (f64::from(*q) - f64::from(*k)).powi(2)).sum();
                        let half: f64 = row[..taps].iter().map(|q| 0.5 * f64::from(*q).powi(2)).sum();
                        // Inner products leave out the norm of the query.
                        let left_out = if differences { 0.0 } else { half };
                        let score = f64::from(row[TEXEL * texels]) * (left_out - 0.5 * square);
                        (score + f64::from(*count)).exp2()
                    };
                    let total: f64 = plain.iter().map(weight).sum();
                    let part = |part: usize| &twin[2 * TEXEL * (part * queries + query)..][..2 * TEXEL];
                    let scale = |part: &[f32]| f64::from(part[0]).exp2();
                    let found: f64 = (0..means.parts()).map(|at| scale(part(at)) * f64::from(part(at)[1])).sum();
                    assert!((found / total - 1.0).abs() < 1e-5, "{what}: {found}, expected {total}");
                    for channel in 0..channels {
                        let expected: f64 =
                            plain.iter().map(|key| weight(key) * f64::from(key.0[centre + channel])).sum();
                        let found: f64 =
                            (0..means.parts()).map(|at| scale(part(at)) * f64::from(part(at)[TEXEL + channel])).sum();
                        assert!((found - expected).abs() < 1e-5 * total, "{what}: {found}, expected {expected}");
                    }
                }
            }
        }
    }
}
