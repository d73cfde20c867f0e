//! Second moments X'X / n of many data sets of one shape, in batched matrix products on the device.
//!
//! The samples are stored transposed, one row of texels per value: X' is both operands of the product, plain and as its
//! own transpose. Sums over samples are cut into splits, one batch image per split. The host adds the splits in
//! float64, so that sums in float32 stay short.

use faer::Mat;

use crate::error::Result;
use crate::gpu::{Call, Region};
use crate::kernels::Engine;
use crate::kernels::engine::call_words;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::shader::MAX_OPERANDS;
use crate::tensor::{TEXEL, Tensor};

/// The largest number of samples per split.
const SPLIT: usize = 1024;
/// The most floating-point operations per dispatch: a fifth of a second on a device of a tenth of a teraflop per
/// second.
const DISPATCH_FLOPS: u64 = 20_000_000_000;
/// The most values that one batch uploads, or reads back.
const BATCH_VALUES: usize = 16 << 20;

/// Computes X'X / n of each of `sets`, all of one shape (n, p).
///
/// # Errors
/// [`crate::Error::OverLimit`], [`crate::Error::OutOfMemory`], [`crate::Error::Device`].
pub fn second_moments(engine: &Engine, sets: &[Tensor]) -> Result<Vec<Mat<f64>>> {
    let Some(first) = sets.first() else { return Ok(Vec::new()) };
    let (count, dimension) = (first.shape[0], first.shape[1]);
    let one = 2 * dimension * dimension;
    let split = SPLIT.min(count).min((DISPATCH_FLOPS / one as u64).max(1) as usize).next_multiple_of(TEXEL);
    let splits = count.div_ceil(split);
    let texels = dimension.div_ceil(TEXEL);
    let (most_texels, _) = engine.gpu.max_texels(engine.storage_kind());
    let fitting = |values: usize| (most_texels / 2).min(BATCH_VALUES / TEXEL) * TEXEL / values;
    let batch = ((DISPATCH_FLOPS / (one as u64 * split as u64)) as usize)
        .min(fitting(dimension * split))
        .min(fitting(dimension * texels * TEXEL));
    let product = |images: usize| MatMul {
        layout: Layout::Transposed,
        b: Strides { row: split / TEXEL, image: dimension * split / TEXEL, head: 0 },
        alpha: (count as f64).recip() as f32,
        ..MatMul::plain(images, dimension, split, dimension)
    };
    let mut moments: Vec<Mat<f64>> = sets.iter().map(|_| Mat::zeros(dimension, dimension)).collect();
    let images: Vec<(usize, usize)> =
        (0..sets.len()).flat_map(|set| (0..splits).map(move |part| (set, part))).collect();
    for images in images.chunks(batch.max(1)) {
        let mut values = Vec::with_capacity(images.len() * dimension * split);
        for (set, part) in images {
            transpose_into(&mut values, &sets[*set], part * split, split);
        }
        let x = engine.gpu.allocate(engine.storage_kind(), values.len() / TEXEL, "samples of several data sets")?;
        engine.gpu.upload(&x, 0, &values)?;
        let written = images.len() * dimension * texels;
        let y = engine.gpu.allocate(engine.storage_kind(), written, "second moments")?;
        let product = product(images.len());
        let dispatch = product.dispatch(engine.family);
        let pipelines = engine.pipelines(&[&dispatch.shader])?;
        let call = Call {
            pipeline: &pipelines[0],
            words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
            operands: MatMul::reads(&x, &x).into_iter().chain([&y]).collect(),
            grid: dispatch.grid,
            flops: product.flops(),
            label: "second moments",
        };
        engine.gpu.submit(&engine.gpu.record(&[call])?)?;
        let read = engine.gpu.download(&[Region { storage: &y, first: 0, texels: written }])?.concat();
        for ((set, _), values) in images.iter().zip(read.chunks_exact(dimension * texels * TEXEL)) {
            for (i, row) in values.chunks_exact(texels * TEXEL).enumerate() {
                for (j, value) in row[..dimension].iter().enumerate() {
                    moments[*set][(i, j)] += f64::from(*value);
                }
            }
        }
    }
    Ok(moments)
}

/// Appends samples `first..first + split` of (n, p) as (p, split), with zeros beyond the last sample.
fn transpose_into(values: &mut Vec<f32>, samples: &Tensor, first: usize, split: usize) {
    let (count, dimension) = (samples.shape[0], samples.shape[1]);
    let start = values.len();
    values.resize(start + dimension * split, 0.0);
    let transposed = &mut values[start..];
    for (at, sample) in (first..count.min(first + split)).enumerate() {
        for (i, value) in samples.item(sample).iter().enumerate() {
            transposed[i * split + at] = *value;
        }
    }
}
