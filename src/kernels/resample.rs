//! Changes of resolution.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// Nearest neighbours: `y[i, j] = x[i * h / H, j * w / W]`, rounded down, from h x w to H x W. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct UpsampleNearest {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
}

/// The mean of 2 x 2 pixels, stride 2. Reads x; writes a map of half the rows and columns, rounded down.
#[derive(Clone, Copy, Debug)]
pub struct AveragePool {
    /// The map read.
    pub x: Shape,
}

parameters! {
    /// The parameters of `upsample_nearest.wgsl` and `average_pool.wgsl`.
    struct Params {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
    }
}

static UPSAMPLE_NEAREST: Kernel = kernel!("upsample_nearest", Params, upsample_nearest_twin);
static AVERAGE_POOL: Kernel = kernel!("average_pool", Params, average_pool_twin);

/// The dispatch of either kernel, from x to y.
fn resample(kernel: &'static Kernel, x: Shape, y: Shape, family: Family) -> Dispatch {
    let [in_h, in_w, out_h, out_w] = [x.h, x.w, y.h, y.w].map(|extent| extent as u32);
    let params = Params { texels: y.texels() as u32, in_h, in_w, c4: x.c4() as u32, out_h, out_w };
    Dispatch { shader: family.shader(kernel, vec![]), params: words(&params), grid: flat_grid(y.texels()) }
}

impl UpsampleNearest {
    /// The dispatch of this upsampling.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        resample(&UPSAMPLE_NEAREST, self.x, self.y, family)
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&UPSAMPLE_NEAREST, vec![])]
    }
}

impl AveragePool {
    /// The dispatch of this pooling.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let y = Shape { h: self.x.h / 2, w: self.x.w / 2, ..self.x };
        resample(&AVERAGE_POOL, self.x, y, family)
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&AVERAGE_POOL, vec![])]
    }
}

fn upsample_nearest_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        y.copy_from_slice(
            &x[((image * in_h + row * in_h / out_h) * in_w + column * in_w / out_w) * padded..][..padded],
        );
    }
}

fn average_pool_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        let at = ((image * in_h + 2 * row) * in_w + 2 * column) * padded;
        let below = at + in_w * padded;
        for (c, y) in y.iter_mut().enumerate() {
            *y = 0.25 * ((x[at + c] + x[at + padded + c]) + (x[below + c] + x[below + padded + c]));
        }
    }
}
