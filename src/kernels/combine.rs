//! The update of a sampler: a linear combination of maps with coefficients for each image.

use super::{Dispatch, Family, Kernel, Shader, component, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// `y = c.x * clamp(t0, +-clip) + c.y * t1 + c.z * t2 + c.w * t3 + offset`. Reads coefficients (one texel c per
/// image), t0, t1, t2, t3, of which those beyond `terms` are bound to anything; writes y.
#[derive(Clone, Copy, Debug)]
pub struct Combine {
    /// The shape of every term and of y.
    pub shape: Shape,
    /// The number of terms, 1 to 4.
    pub terms: usize,
    /// The bound of the first term's values, if any.
    pub clip: Option<f32>,
    /// Added to every value.
    pub offset: f32,
}

parameters! {
    /// The parameters of `combine.wgsl`.
    struct Params {
        texels: u32,
        image_texels: u32,
        c: u32,
        terms: u32,
        clamped: u32,
        clip: f32,
        offset: f32,
    }
}

static KERNEL: Kernel = kernel!("combine", Params, twin);

impl Combine {
    /// The dispatch of this update.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params {
            texels: self.shape.texels() as u32,
            image_texels: (self.shape.pixels() * self.shape.c4()) as u32,
            c: self.shape.c as u32,
            terms: self.terms as u32,
            clamped: u32::from(self.clip.is_some()),
            clip: self.clip.unwrap_or(0.0),
            offset: self.offset,
        };
        let grid = flat_grid(self.shape.texels());
        Dispatch { shader: family.shader(&KERNEL, vec![]), params: words(&params), grid }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [coefficients, terms @ ..] = reads else { return };
    let (c, padded) = (p.c as usize, (p.c as usize).next_multiple_of(TEXEL));
    for index in 0..p.texels as usize * TEXEL {
        if index % padded >= c {
            write[index] = 0.0;
            continue;
        }
        let image = index / (p.image_texels as usize * TEXEL);
        let mut v = 0.0;
        for (which, term) in terms.iter().take(p.terms as usize).enumerate() {
            let clamped = which == 0 && p.clamped != 0;
            let value = if clamped { term[index].clamp(-p.clip, p.clip) } else { term[index] };
            v += component(coefficients, image, which) * value;
        }
        write[index] = v + p.offset;
    }
}
