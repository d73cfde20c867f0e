//! Softmax over the rows of a matrix, or over the part that its query sees.

use super::{Dispatch, FLAT_WORKGROUP, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// Softmax over the columns of each row. Reads x, rows of whole texels whose padding may hold anything; writes y,
/// laid out alike, zero in the padding.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// Rows, of all images and heads together.
    pub rows: usize,
    /// Columns, unpadded; fewer than 40,000.
    pub columns: usize,
    /// With a causal mask: the queries of the rows. A query has no share in keys after its own place.
    pub causal: Option<Causal>,
}

/// Rows as some queries of one head and image after another.
#[derive(Clone, Copy, Debug)]
pub struct Causal {
    /// Queries of each head.
    pub queries: usize,
    /// The place of the first of them among the keys.
    pub first: usize,
}

parameters! {
    /// The parameters of `softmax.wgsl` and `softmax.tile.wgsl`.
    struct Params {
        rows: u32,
        columns: u32,
        queries: u32,
        first: u32,
    }
}

static BY_ROW: Kernel = kernel!("softmax", Params, twin);
static TILE: Kernel = kernel!("softmax.tile", Params, twin);

/// Rows per workgroup of the tile family, whose workgroups are numbered as in a flat grid.
const TILE_ROWS: u32 = 4;

impl Softmax {
    /// The dispatch of this softmax.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        // Without a mask every row is that of the last query.
        let Causal { queries, first } = self.causal.unwrap_or(Causal { queries: 1, first: self.columns - 1 });
        let [rows, columns, queries, first] = [self.rows, self.columns, queries, first].map(|extent| extent as u32);
        let params = Params { rows, columns, queries, first };
        let (kernel, invocations) = match family {
            Family::Lanes { .. } => (&BY_ROW, self.rows),
            Family::Tile | Family::Matrix { .. } => {
                (&TILE, self.rows.div_ceil(TILE_ROWS as usize) * FLAT_WORKGROUP as usize)
            }
        };
        Dispatch { shader: family.shader(kernel, vec![]), params: words(&params), grid: flat_grid(invocations) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![Self { rows: 1, columns: 1, causal: None }.dispatch(family).shader]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let columns = p.columns as usize;
    let padded = columns.next_multiple_of(TEXEL);
    for (row, (from, to)) in x.chunks(padded).zip(write.chunks_mut(padded)).enumerate().take(p.rows as usize) {
        let from = &from[..columns.min(p.first as usize + row % p.queries as usize + 1)];
        let most = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = from.iter().map(|v| (v - most).exp()).sum();
        to.fill(0.0);
        for (to, v) in to.iter_mut().zip(from) {
            *to = (v - most).exp() / sum;
        }
    }
}
