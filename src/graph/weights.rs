//! Weights on their way to the device: fetched one at a time, padded for attention heads, packed for the kernels.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::WeightAccess;
use super::adjoint::transposed;
use super::op::{HeadSide, Heads, Weight, WeightForm, WeightSource, padded_kernel};
use crate::error::{Error, Result};
use crate::kernels::choice::Algorithm;
use crate::kernels::{Family, conv2d, winograd};
use crate::tensor::{Precision, TEXEL};

/// The precision of a weight, for kernels of the precision `kernels`. Vectors are small and always float32.
#[must_use]
pub const fn precision(form: WeightForm, kernels: Precision) -> Precision {
    match form {
        WeightForm::Kernel { .. } => kernels,
        WeightForm::Vector { .. } => Precision::Float32,
    }
}

/// Returns the numbers of a weight in the layout that the kernels read. Those of a kernel are rounded to the
/// precision `kernels`, after the transformation if there is one.
///
/// # Errors
/// Those of `fetch`; [`Error::BeyondFloat16`].
pub fn packed(
    weight: &Weight,
    algorithm: Algorithm,
    kernels: Precision,
    family: Family,
    fetch: &WeightAccess,
) -> Result<Vec<f32>> {
    let precision = precision(weight.form, kernels);
    let mut values = laid_out(weight, algorithm, family, &|key, shape| {
        let tensor = fetch(key, shape)?;
        check_range(&tensor.data, precision, key)?;
        Ok(tensor)
    })?;
    // A transformation may make numbers larger.
    check_range(&values, precision, &weight.name)?;
    if precision == Precision::Float16 {
        round_to_float16(&mut values);
    }
    Ok(values)
}

/// Rounds each number to the nearest of float16, ties to even.
pub(super) fn round_to_float16(values: &mut [f32]) {
    let mut halves = [f16::ZERO; 1024];
    for values in values.chunks_mut(halves.len()) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        halves.convert_to_f32_slice(values);
    }
}

/// Refuses numbers that would become infinite.
fn check_range(values: &[f32], precision: Precision, key: &str) -> Result<()> {
    let largest = f32::from(f16::MAX);
    match values.iter().find(|value| value.abs() > largest) {
        Some(value) if precision == Precision::Float16 => {
            Err(Error::BeyondFloat16 { key: key.to_owned(), value: *value })
        }
        _ => Ok(()),
    }
}

fn laid_out(weight: &Weight, algorithm: Algorithm, family: Family, fetch: &WeightAccess) -> Result<Vec<f32>> {
    let values = stacked(weight, fetch)?;
    Ok(match weight.form {
        WeightForm::Kernel { out, input, .. } if let Algorithm::Winograd(tile) = algorithm => {
            winograd::pack(&values, out, input, tile, family)
        }
        WeightForm::Kernel { out, input, .. } if let Algorithm::WinogradRows(tile) = algorithm => {
            winograd::pack_rows(&values, out, input, tile, family)
        }
        WeightForm::Kernel { out, input, height, width, heads } => {
            let values = pad_heads(values, out, input * height * width, heads, HeadSide::Out);
            let (padded_out, padded_in) = padded_kernel(out, input, heads);
            let values = match heads {
                // Heads on the input side: each output's (in, height, width) is a matrix of `in` rows.
                Some(heads) if heads.side == HeadSide::In => {
                    values.chunks(input * height * width).flat_map(|one| pad_rows(one, height * width, heads)).collect()
                }
                _ => values,
            };
            conv2d::pack(&values, padded_out, padded_in, (height, width), family)
        }
        WeightForm::Vector { len, heads } => {
            let mut values = pad_heads(values, len, 1, heads, HeadSide::Out);
            values.resize(values.len().next_multiple_of(TEXEL), 0.0);
            values
        }
    })
}

/// Texels of a weight in the layout the kernels read.
#[must_use]
pub fn packed_texels(form: WeightForm, algorithm: Algorithm, family: Family) -> usize {
    match form {
        WeightForm::Kernel { out, input, .. } if let Algorithm::Winograd(tile) = algorithm => {
            winograd::packed_texels(out, input, tile, family)
        }
        WeightForm::Kernel { out, input, .. } if let Algorithm::WinogradRows(tile) = algorithm => {
            winograd::rows_packed_texels(out, input, tile, family)
        }
        WeightForm::Kernel { out, input, height, width, heads } => {
            let (out, input) = padded_kernel(out, input, heads);
            conv2d::packed_texels(out, input, (height, width), family)
        }
        WeightForm::Vector { len, heads } => padded_kernel(len, 0, heads).0.div_ceil(TEXEL),
    }
}

/// The parts of a weight, one after the other along the output dimension.
fn stacked(weight: &Weight, fetch: &WeightAccess) -> Result<Vec<f32>> {
    match &weight.source {
        WeightSource::Constant(values) => Ok(values.clone()),
        WeightSource::Stack(weights) => {
            weights.iter().map(|weight| stacked(weight, fetch)).collect::<Result<Vec<_>>>().map(|parts| parts.concat())
        }
        WeightSource::Rows { key, order } => {
            let values = fetch(key, &part_shape(weight.form, 1))?.data;
            Ok(in_order(&values, order))
        }
        WeightSource::Transposed(weight) => {
            let values = stacked(weight, fetch)?;
            Ok(match weight.form {
                WeightForm::Kernel { out, input, height, width, .. } => {
                    transposed(&values, (out, input), height * width)
                }
                WeightForm::Vector { .. } => values,
            })
        }
        WeightSource::Checkpoint(keys) => {
            let mut values = Vec::new();
            for key in keys {
                values.extend(fetch(key, &part_shape(weight.form, keys.len()))?.data);
            }
            Ok(values)
        }
    }
}

/// Rows in another order; `values` has as many.
pub(super) fn in_order<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    let row = values.len() / order.len().max(1);
    order.iter().flat_map(|at| values[at * row..][..row].iter().copied()).collect()
}

/// The shape of one of `parts` equal parts, as the checkpoint holds it.
fn part_shape(form: WeightForm, parts: usize) -> Vec<usize> {
    match form {
        WeightForm::Kernel { out, input, height, width, .. } => vec![out / parts, input, height, width],
        WeightForm::Vector { len, .. } => vec![len / parts],
    }
}

fn pad_heads(values: Vec<f32>, rows: usize, row: usize, heads: Option<Heads>, side: HeadSide) -> Vec<f32> {
    match heads {
        Some(heads) if heads.side == side => pad_rows(&values[..rows * row], row, heads),
        _ => values,
    }
}

/// After each head's rows of `row` values, rows of zeros up to the padded head.
fn pad_rows(values: &[f32], row: usize, heads: Heads) -> Vec<f32> {
    values
        .chunks(heads.dim * row)
        .flat_map(|head| {
            let padding = (heads.padded_dim() - heads.dim) * row;
            head.iter().copied().chain(std::iter::repeat_n(0.0, padding))
        })
        .collect()
}
