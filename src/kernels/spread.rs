//! Transposes of windows and of nearest neighbours: pixels with zeros around them, and sums of pixels.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y[i, j] = x[i', j']` where `i + skip = before + stride i'` and likewise j, zero elsewhere. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
    /// Rows and columns from one pixel to the next.
    pub stride: usize,
    /// Rows and columns of zeros before the first pixel.
    pub before: usize,
    /// Rows and columns that are left out before all others.
    pub skip: usize,
}

/// The sums of the pixels that nearest neighbours make of each pixel: the transpose of
/// [`super::resample::UpsampleNearest`]. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct NearestSums {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
}

parameters! {
    /// The parameters of `spread.wgsl`.
    struct SpreadParams {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        stride: u32,
        before: u32,
        skip: u32,
    }
}

parameters! {
    /// The parameters of `nearest_sums.wgsl`.
    struct SumsParams {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
    }
}

static SPREAD: Kernel = kernel!("spread", SpreadParams, spread_twin);
static SUMS: Kernel = kernel!("nearest_sums", SumsParams, sums_twin);

impl Spread {
    /// The dispatch of this operation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [in_h, in_w, out_h, out_w] = [self.x.h, self.x.w, self.y.h, self.y.w].map(|extent| extent as u32);
        let [stride, before, skip] = [self.stride, self.before, self.skip].map(|extent| extent as u32);
        let (texels, c4) = (self.y.texels() as u32, self.x.c4() as u32);
        let params = SpreadParams { texels, in_h, in_w, c4, out_h, out_w, stride, before, skip };
        let shader = family.shader(&SPREAD, vec![]);
        Dispatch { shader, params: words(&params), grid: flat_grid(self.y.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&SPREAD, vec![])]
    }

    /// The row or column of x, of `count`, at a place of y.
    #[must_use]
    pub fn place(&self, at: usize, count: usize) -> Option<usize> {
        let within = (at + self.skip).checked_sub(self.before)?;
        (within.is_multiple_of(self.stride) && within / self.stride < count).then_some(within / self.stride)
    }
}

impl NearestSums {
    /// The dispatch of these sums.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [in_h, in_w, out_h, out_w] = [self.x.h, self.x.w, self.y.h, self.y.w].map(|extent| extent as u32);
        let (texels, c4) = (self.y.texels() as u32, self.x.c4() as u32);
        let params = SumsParams { texels, in_h, in_w, c4, out_h, out_w };
        Dispatch { shader: family.shader(&SUMS, vec![]), params: words(&params), grid: flat_grid(self.y.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&SUMS, vec![])]
    }
}

fn spread_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: SpreadParams = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let [stride, before, skip] = [p.stride, p.before, p.skip].map(|extent| extent as usize);
    let shape = Shape::new(1, 1, 1, 1);
    let spread = Spread { x: shape, y: shape, stride, before, skip };
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        match (spread.place(row, in_h), spread.place(column, in_w)) {
            (Some(row), Some(column)) => {
                y.copy_from_slice(&x[((image * in_h + row) * in_w + column) * padded..][..padded]);
            }
            _ => y.fill(0.0),
        }
    }
}

fn sums_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: SumsParams = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, i, j) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        y.fill(0.0);
        for row in (i * in_h).div_ceil(out_h)..((i + 1) * in_h).div_ceil(out_h) {
            for column in (j * in_w).div_ceil(out_w)..((j + 1) * in_w).div_ceil(out_w) {
                let x = &x[((image * in_h + row) * in_w + column) * padded..][..padded];
                y.iter_mut().zip(x).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}
