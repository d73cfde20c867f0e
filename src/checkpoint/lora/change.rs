//! The change of one tensor: a product of two factors, added when the tensor is read.

use rayon::prelude::*;

use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

/// A product `scale * up * down` that is added to a tensor of shape (outputs, inputs, ...).
#[derive(Clone, Debug)]
pub(in crate::checkpoint) struct Change {
    /// The file of the factors.
    pub factors: Weights,
    /// The key of the factor of shape (rank, inputs, ...).
    pub down: String,
    /// The key of the factor of shape (outputs, rank).
    pub up: String,
    pub scale: f64,
}

/// Adds `changes` to the `values` of a tensor of `outputs` rows. Products and sums are in float64 and rounded once.
///
/// # Errors
/// Those of reading the factors; [`Error::BadFile`] for a result beyond float32.
pub(in crate::checkpoint) fn apply(values: &mut [f32], outputs: usize, changes: &[Change]) -> Result<()> {
    let columns = values.len() / outputs.max(1);
    if columns == 0 {
        return Ok(());
    }
    let read = |change: &Change, key: &str| -> Result<Vec<f32>> {
        let shape = change.factors.shape(key).unwrap_or_default().to_vec();
        Ok(change.factors.fetch(key, &shape)?.data)
    };
    let factors: Vec<(f64, Vec<f32>, Vec<f32>)> = changes
        .iter()
        .map(|change| Ok((change.scale, read(change, &change.up)?, read(change, &change.down)?)))
        .collect::<Result<_>>()?;
    values.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
        let mut sums: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        for (scale, up, down) in &factors {
            let rank = down.len() / columns;
            for (factor, down) in up[row * rank..][..rank].iter().zip(down.chunks(columns)) {
                let factor = scale * f64::from(*factor);
                sums.iter_mut().zip(down).for_each(|(sum, value)| *sum += factor * f64::from(*value));
            }
        }
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32);
    });
    match (values.iter().all(|value| value.is_finite()), changes.last()) {
        (false, Some(last)) => Err(Error::bad_file_hint(
            last.factors.path(),
            format!("the product of `{}` and `{}` makes a weight that is not finite", last.up, last.down),
            "use a smaller weight for the file",
        )),
        _ => Ok(()),
    }
}
