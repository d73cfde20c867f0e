//! Bilinear changes of size.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// The bound of the product of a side before and after: places are computed as whole numbers over twice the new side.
pub const MOST_PRODUCT: usize = 1 << 28;

/// Bilinear interpolation to another height and width. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
    /// `true` for pixels at their centres.
    pub centred: bool,
}

parameters! {
    /// The parameters of `resize_bilinear.wgsl`.
    struct Params {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        centred: u32,
    }
}

static KERNEL: Kernel = kernel!("resize_bilinear", Params, twin);

impl Resize {
    /// The dispatch of this change of size.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [in_h, in_w, out_h, out_w] = [self.x.h, self.x.w, self.y.h, self.y.w].map(|extent| extent as u32);
        let (texels, c4, centred) = (self.y.texels(), self.x.c4() as u32, u32::from(self.centred));
        let params = Params { texels: texels as u32, in_h, in_w, c4, out_h, out_w, centred };
        Dispatch { shader: family.shader(&KERNEL, vec![]), params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

/// The pixel before the place of pixel `at` of `to`, the one after it, and the share of the latter.
fn between(at: usize, from: usize, to: usize, centred: bool) -> (usize, usize, f32) {
    let place = if centred { (2 * at * from + from).saturating_sub(to) } else { 2 * at * from };
    let first = (place / (2 * to)).min(from - 1);
    (first, (first + 1).min(from - 1), (place - first * 2 * to) as f32 / (2 * to) as f32)
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w] = [p.in_h, p.in_w, p.out_h, p.out_w].map(|extent| extent as usize);
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        let (above, below, down) = between(row, in_h, out_h, p.centred != 0);
        let (before, after, right) = between(column, in_w, out_w, p.centred != 0);
        let at = |row: usize, column: usize| ((image * in_h + row) * in_w + column) * padded;
        let places = [at(above, before), at(above, after), at(below, before), at(below, after)];
        for (c, y) in y.iter_mut().enumerate() {
            let [a, b, d, e] = places.map(|place| x[place + c]);
            let (upper, lower) = (a * (1.0 - right) + b * right, d * (1.0 - right) + e * right);
            *y = upper * (1.0 - down) + lower * down;
        }
    }
}
