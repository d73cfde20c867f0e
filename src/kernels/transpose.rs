//! Rows and columns of matrices, exchanged.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// The transpose of each of several matrices. Reads x, rows of whole texels whose padding may hold anything; writes y,
/// rows of whole texels with zeros in the padding.
#[derive(Clone, Copy, Debug)]
pub struct Transpose {
    /// Matrices, one after the other.
    pub matrices: usize,
    /// Rows of x, columns of y.
    pub rows: usize,
    /// Columns of x, rows of y.
    pub columns: usize,
}

parameters! {
    /// The parameters of `transpose.wgsl`.
    struct Params {
        texels: u32,
        rows: u32,
        columns: u32,
    }
}

static KERNEL: Kernel = kernel!("transpose", Params, twin);

impl Transpose {
    /// Texels written.
    #[must_use]
    pub fn texels(&self) -> usize {
        self.matrices * self.columns * self.rows.div_ceil(TEXEL)
    }

    /// The dispatch of this operation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [texels, rows, columns] = [self.texels(), self.rows, self.columns].map(|extent| extent as u32);
        let params = words(&Params { texels, rows, columns });
        Dispatch { shader: family.shader(&KERNEL, vec![]), params, grid: flat_grid(self.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let (rows, columns) = (p.rows as usize, p.columns as usize);
    let (from, to) = (columns.next_multiple_of(TEXEL), rows.next_multiple_of(TEXEL));
    for (line, y) in write[..p.texels as usize * TEXEL].chunks_mut(to).enumerate() {
        let (matrix, column) = (line / columns, line % columns);
        for (row, y) in y.iter_mut().enumerate() {
            *y = if row < rows { x[(matrix * rows + row) * from + column] } else { 0.0 };
        }
    }
}
