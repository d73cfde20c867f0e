//! Attention in one dispatch, without storing scores: for software adapters, where storing a score costs as much as
//! the products behind it.

use super::matmul::Strides;
use super::selftest::LONGEST_LOOP;
use super::{Dispatch, Family, Kernel, Shader, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// `softmax(scale * q k^T) v` for each image and head. Reads q, k, v; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// (images, heads).
    pub batch: (usize, usize),
    pub queries: usize,
    pub keys: usize,
    /// Texels of a head.
    pub texels: usize,
    /// The strides of the tokens of q, k, v and y.
    pub strides: [Strides; 4],
    pub scale: f32,
}

/// Queries of a workgroup.
const ROWS: usize = 32;
/// From this number of keys on, one more shader pays for its compilation.
const LEAST_KEYS: usize = 256;

parameters! {
    /// The parameters of `attention.lanes.wgsl`.
    struct Params {
        queries: u32,
        keys: u32,
        heads: u32,
        texels: u32,
        /// Row, image and head of q, k, v, y.
        strides: [[u32; 3]; 4],
        scale: f32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader, and the extent of its grid.
    struct TwinParams {
        shader: Params,
        images: u32,
    }
}

static LANES: Kernel = kernel!("attention.lanes", TwinParams, twin);

fn variant(family: Family, width: u32, wide: bool) -> Shader {
    family.shader(&LANES, vec![("LANES", width), ("ROWS", ROWS as u32), ("WIDE", u32::from(wide))])
}

impl Attention {
    /// The dispatch of this attention; `None` if the family does not have a kernel that is worth it.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Option<Dispatch> {
        let Family::Lanes { width } = family else { return None };
        let lanes = width as usize;
        let iterations = self.keys.div_ceil(TEXEL * lanes) * (self.texels + lanes);
        if self.keys < LEAST_KEYS || self.texels > 2 * lanes || iterations > LONGEST_LOOP as usize {
            return None;
        }
        let (images, heads) = self.batch;
        let strides = self.strides.map(|of| [of.row, of.image, of.head].map(|stride| stride as u32));
        let shader_params = Params {
            queries: self.queries as u32,
            keys: self.keys as u32,
            heads: heads as u32,
            texels: self.texels as u32,
            strides,
            scale: self.scale,
        };
        let params = TwinParams { shader: shader_params, images: images as u32 };
        let grid = [1, self.queries.div_ceil(ROWS), images * heads].map(|extent| extent as u32);
        Some(Dispatch { shader: variant(family, width, self.texels > lanes), params: words(&params), grid })
    }

    /// Multiplications and additions of its products.
    #[must_use]
    pub fn flops(&self) -> u64 {
        4 * (self.batch.0 * self.batch.1 * self.queries * self.keys * self.texels * TEXEL) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        match family {
            Family::Lanes { width } => [false, true].map(|wide| variant(family, width, wide)).to_vec(),
            Family::Tile | Family::Matrix { .. } => Vec::new(),
        }
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, images } = params(words);
    let [q, k, v] = reads else { return };
    let channels = p.texels as usize * TEXEL;
    let (queries, keys) = (p.queries as usize, p.keys as usize);
    let mut shares = vec![0.0f32; keys];
    for (image, head) in (0..images as usize).flat_map(|image| (0..p.heads as usize).map(move |head| (image, head))) {
        let at = |of: usize, token: usize| {
            let [row, image_stride, head_stride] = p.strides[of].map(|stride| stride as usize);
            (image * image_stride + head * head_stride + token * row) * TEXEL
        };
        for query in 0..queries {
            let q = &q[at(0, query)..][..channels];
            for (key, share) in shares.iter_mut().enumerate() {
                let k = &k[at(1, key)..][..channels];
                *share = q.iter().zip(k).map(|(q, k)| q * p.scale * k).sum();
            }
            let most = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for share in &mut shares {
                *share = (*share - most).exp();
            }
            let total: f32 = shares.iter().sum();
            let y = &mut write[at(3, query)..][..channels];
            y.fill(0.0);
            for (key, share) in shares.iter().enumerate() {
                let v = &v[at(2, key)..][..channels];
                y.iter_mut().zip(v).for_each(|(y, v)| *y += share * v);
            }
            for y in y {
                *y /= total;
            }
        }
    }
}
