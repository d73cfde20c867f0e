//! Pooling by windows of any size.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// The mean or the largest value of the pixels of a window, of those that are in the map. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
    /// Rows and columns of a window.
    pub side: usize,
    /// Rows and columns between windows.
    pub stride: usize,
    /// Rows above and columns left of the map where the first window begins.
    pub pad: usize,
    /// `true` for the largest value, `false` for the mean.
    pub largest: bool,
}

parameters! {
    /// The parameters of `pool_mean.wgsl` and `pool_largest.wgsl`.
    struct Params {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        side: u32,
        stride: u32,
        pad: u32,
    }
}

static MEAN: Kernel = kernel!("pool_mean", Params, |words, reads, write| twin(words, reads, write, false));
static LARGEST: Kernel = kernel!("pool_largest", Params, |words, reads, write| twin(words, reads, write, true));

impl Pool {
    fn kernel(largest: bool) -> &'static Kernel {
        if largest { &LARGEST } else { &MEAN }
    }

    /// The dispatch of this pooling.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [in_h, in_w, out_h, out_w] = [self.x.h, self.x.w, self.y.h, self.y.w].map(|extent| extent as u32);
        let [side, stride, pad] = [self.side, self.stride, self.pad].map(|extent| extent as u32);
        let (texels, c4) = (self.y.texels(), self.x.c4() as u32);
        let params = Params { texels: texels as u32, in_h, in_w, c4, out_h, out_w, side, stride, pad };
        let shader = family.shader(Self::kernel(self.largest), vec![]);
        Dispatch { shader, params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [false, true].map(|largest| family.shader(Self::kernel(largest), vec![])).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32], largest: bool) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let [side, stride, pad] = [p.side, p.stride, p.pad].map(|extent| extent as usize);
    let padded = p.c4 as usize * TEXEL;
    let window = |at: usize, of: usize| {
        let first = at * stride;
        first.saturating_sub(pad)..(first + side - pad).min(of)
    };
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        let (rows, columns) = (window(row, in_h), window(column, in_w));
        let first = ((image * in_h + rows.start) * in_w + columns.start) * padded;
        for (c, y) in y.iter_mut().enumerate() {
            let mut pooled = if largest { x[first + c] } else { 0.0 };
            for (row, column) in rows.clone().flat_map(|row| columns.clone().map(move |column| (row, column))) {
                let value = x[((image * in_h + row) * in_w + column) * padded + c];
                pooled = if largest { pooled.max(value) } else { pooled + value };
            }
            *y = if largest { pooled } else { pooled / (rows.len() * columns.len()) as f32 };
        }
    }
}
