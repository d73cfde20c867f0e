//! First stage of group normalisation: mean and sum of squared deviations (M2) of each channel over chunks of pixels.

use crate::kernels::parameters::{kernel, parameters};
use crate::kernels::source::{joined_constant, joined_value};
use crate::kernels::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::tensor::{Shape, TEXEL};

/// Moments of the chunks of a map. Reads x, x2 (the second of two joined maps); writes two texels, mean and M2 of
/// four channels, for each image, chunk and channel texel, at `((image * chunks + chunk) * c4 + channel texel) * 2`.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The map read.
    pub x: Shape,
    /// Channels of the first of two joined maps; whole texels.
    pub joined: Option<usize>,
    /// Pixels per chunk; the last chunk of an image may be shorter.
    pub chunk: usize,
}

parameters! {
    /// The parameters of `moments.wgsl`.
    struct Params {
        pixels: u32,
        c4: u32,
        chunk: u32,
        chunks: u32,
        invocations: u32,
        first_c4: u32,
    }
}

static KERNEL: Kernel = kernel!("moments", Params, twin);

/// Invocations per image that keep a small GPU busy and leave few enough chunks for one invocation to fold.
const INVOCATIONS: usize = 4096;

/// Invocations per image that keep a large GPU busy.
const TILE_INVOCATIONS: usize = 1 << 16;

/// Fewest and most pixels of a chunk: a chunk must outweigh the two texels it leaves, and a loop must end soon.
const CHUNK_PIXELS: (usize, usize) = (16, 4096);

impl Moments {
    /// Moments of a map in chunks that suit the family, which folds more chunks at little cost if workgroups do it.
    #[must_use]
    pub fn new(x: Shape, joined: Option<usize>, family: Family) -> Self {
        let chunk = match family {
            Family::Lanes { .. } => Self::chunk_pixels(x),
            Family::Tile | Family::Matrix { .. } => chunk_for(x, TILE_INVOCATIONS),
        };
        Self { x, joined, chunk }
    }

    /// Pixels of a chunk that suit maps of this height, width and channels where one invocation folds all chunks of a
    /// group. They do not depend on the batch, so that an image's statistics have the same bits in any batch.
    #[must_use]
    pub fn chunk_pixels(x: Shape) -> usize {
        chunk_for(x, INVOCATIONS)
    }

    /// Chunks per image.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.x.pixels().div_ceil(self.chunk)
    }

    /// The dispatch of this stage.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let invocations = self.x.n * self.chunks() * self.x.c4();
        let params = Params {
            pixels: self.x.pixels() as u32,
            c4: self.x.c4() as u32,
            chunk: self.chunk as u32,
            chunks: self.chunks() as u32,
            invocations: invocations as u32,
            first_c4: self.joined.unwrap_or(0).div_ceil(TEXEL) as u32,
        };
        let shader = family.shader(&KERNEL, vec![joined_constant(self.joined)]);
        Dispatch { shader, params: words(&params), grid: flat_grid(invocations) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [None, Some(TEXEL)].map(|joined| family.shader(&KERNEL, vec![joined_constant(joined)])).to_vec()
    }
}

fn chunk_for(x: Shape, invocations: usize) -> usize {
    (x.pixels() * x.c4()).div_ceil(invocations).clamp(CHUNK_PIXELS.0, CHUNK_PIXELS.1)
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [x, x2] = reads else { return };
    let [pixels, c4, chunk, chunks] = [p.pixels, p.c4, p.chunk, p.chunks].map(|extent| extent as usize);
    for index in 0..p.invocations as usize {
        let (line, c) = (index / c4, index % c4);
        let first = line % chunks * chunk;
        let count = chunk.min(pixels - first);
        let at = line / chunks * pixels + first;
        for i in 0..TEXEL {
            let value = |pixel: usize| joined_value([x, x2], p.first_c4, c4 * TEXEL, at + pixel, c * TEXEL + i);
            let shift = value(0);
            let (mut sum, mut squares) = (0.0, 0.0);
            for pixel in 1..count {
                let deviation = value(pixel) - shift;
                sum += deviation;
                squares += deviation * deviation;
            }
            let mean = sum / count as f32;
            write[index * 2 * TEXEL + i] = shift + mean;
            write[(index * 2 + 1) * TEXEL + i] = (squares - sum * mean).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_do_not_depend_on_the_batch() {
        for (h, w, c) in [(1, 1, 1), (7, 5, 3), (32, 32, 128), (256, 256, 128), (1024, 1024, 512)] {
            let chunk = Moments::chunk_pixels(Shape::new(1, h, w, c));
            assert!((16..=4096).contains(&chunk));
            assert_eq!(chunk, Moments::chunk_pixels(Shape::new(9, h, w, c)));
            let of_tile = |n| Moments::new(Shape::new(n, h, w, c), None, Family::Tile).chunk;
            assert!((16..=chunk).contains(&of_tile(1)));
            assert_eq!(of_tile(1), of_tile(9));
        }
    }

    #[test]
    fn large_maps_have_enough_invocations() {
        for (h, w, c) in [(64, 64, 128), (256, 256, 128), (512, 512, 64), (64, 64, 512)] {
            let x = Shape::new(1, h, w, c);
            let moments = Moments { x, joined: None, chunk: Moments::chunk_pixels(x) };
            assert!((4096..=8192).contains(&(moments.chunks() * x.c4())), "{x}: {} chunks", moments.chunks());
        }
    }
}
