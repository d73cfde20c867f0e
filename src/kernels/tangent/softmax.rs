//! The tangent of a softmax over the rows of a matrix.

use super::primal_index;
use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::TEXEL;

/// `y = shares * (tangent - mean of the tangent by the shares of its row)`. Reads shares (the result of
/// [`crate::kernels::softmax::Softmax`]), tangent, rows whose padding may hold anything; writes y, laid out alike,
/// zero in the padding.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxTangent {
    /// Rows of the tangent, of all images and heads together.
    pub rows: usize,
    /// Columns, unpadded; fewer than 60,000.
    pub columns: usize,
    /// Rows per image.
    pub image_rows: usize,
    /// Images of the tangent for each of the shares.
    pub repeats: usize,
}

parameters! {
    /// The parameters of `softmax_tangent.wgsl`.
    struct Params {
        rows: u32,
        columns: u32,
        image_rows: u32,
        repeats: u32,
    }
}

static KERNEL: Kernel = kernel!("softmax_tangent", Params, twin);

impl SoftmaxTangent {
    /// The dispatch of this tangent.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [rows, columns, image_rows, repeats] =
            [self.rows, self.columns, self.image_rows, self.repeats].map(|extent| extent as u32);
        let params = words(&Params { rows, columns, image_rows, repeats });
        Dispatch { shader: family.shader(&KERNEL, vec![]), params, grid: flat_grid(self.rows) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [shares, tangent] = reads else { return };
    let columns = p.columns as usize;
    let padded = columns.next_multiple_of(TEXEL);
    for row in 0..p.rows as usize {
        let of_shares = primal_index(row, p.image_rows as usize, p.repeats as usize);
        let (shares, tangent) = (&shares[of_shares * padded..][..columns], &tangent[row * padded..][..columns]);
        let mean: f32 = shares.iter().zip(tangent).map(|(share, tangent)| share * tangent).sum();
        let to = &mut write[row * padded..][..padded];
        to.fill(0.0);
        for ((to, share), tangent) in to.iter_mut().zip(shares).zip(tangent) {
            *to = share * (tangent - mean);
        }
    }
}
