//! Changes of resolution by the filter (1, 3, 3, 1) along rows and columns, with zeros around the map.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// Taps of the filter.
pub const TAPS: usize = 4;

/// Half or twice the rows and columns. Reads x; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Fir {
    /// The map read.
    pub x: Shape,
    /// The map written.
    pub y: Shape,
    /// `true` for twice the rows and columns.
    pub doubles: bool,
    /// Rows and columns of zeros on each side of a map that is halved.
    pub pad: usize,
}

parameters! {
    /// The parameters of `fir_halve.wgsl` and `fir_double.wgsl`.
    struct Params {
        texels: u32,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        pad: u32,
    }
}

static HALVE: Kernel = kernel!("fir_halve", Params, |words, reads, write| twin(words, reads, write, halved));
static DOUBLE: Kernel = kernel!("fir_double", Params, |words, reads, write| twin(words, reads, write, doubled));

impl Fir {
    fn kernel(doubles: bool) -> &'static Kernel {
        if doubles { &DOUBLE } else { &HALVE }
    }

    /// The dispatch of this change of resolution.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let [in_h, in_w, out_h, out_w] = [self.x.h, self.x.w, self.y.h, self.y.w].map(|extent| extent as u32);
        let (texels, c4, pad) = (self.y.texels(), self.x.c4() as u32, self.pad as u32);
        let params = Params { texels: texels as u32, in_h, in_w, c4, out_h, out_w, pad };
        let shader = family.shader(Self::kernel(self.doubles), vec![]);
        Dispatch { shader, params: words(&params), grid: flat_grid(texels) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [false, true].map(|doubles| family.shader(Self::kernel(doubles), vec![])).to_vec()
    }
}

/// `(x[0] + x[3]) / 8 + (x[1] + x[2]) 3 / 8` at four places from `2 at - pad`.
fn halved(at: isize, pad: isize, x: &dyn Fn(isize) -> f32) -> f32 {
    let first = 2 * at - pad;
    (x(first) + x(first + 3)) * 0.125 + (x(first + 1) + x(first + 2)) * 0.375
}

/// `3 / 4` of the nearest place and `1 / 4` of the next nearest.
fn doubled(at: isize, _: isize, x: &dyn Fn(isize) -> f32) -> f32 {
    let near = at / 2;
    x(near) * 0.75 + x(near + if at % 2 == 1 { 1 } else { -1 }) * 0.25
}

/// A filter along one axis: the value at a place, for a padding, from the values at places of x.
type Axis = fn(isize, isize, &dyn Fn(isize) -> f32) -> f32;

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32], axis: Axis) {
    let p: Params = params(words);
    let [x] = reads else { return };
    let [in_h, in_w, out_h, out_w, pad] = [p.in_h, p.in_w, p.out_h, p.out_w, p.pad].map(|extent| extent as isize);
    let padded = p.c4 as usize * TEXEL;
    for (pixel, y) in write.chunks_mut(padded).take((p.texels / p.c4) as usize).enumerate() {
        let pixel = pixel as isize;
        let (image, row, column) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        for (c, y) in y.iter_mut().enumerate() {
            let at = |row: isize, column: isize| {
                let is_inside = (0..in_h).contains(&row) && (0..in_w).contains(&column);
                if is_inside { x[((image * in_h + row) * in_w + column) as usize * padded + c] } else { 0.0 }
            };
            *y = axis(row, pad, &|row| axis(column, pad, &|column| at(row, column)));
        }
    }
}
