//! Channels of one map after those of another.

use super::{Dispatch, Family, Kernel, Shader, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::{Shape, TEXEL};

/// Channels of a, then channels of b. Reads a, b; writes the map of all channels.
#[derive(Clone, Copy, Debug)]
pub struct Concat {
    /// The map whose channels come first.
    pub a: Shape,
    /// The map whose channels follow; like a except for the channels.
    pub b: Shape,
}

parameters! {
    /// The parameters of `concat.wgsl`.
    struct Params {
        texels: u32,
        a_c: u32,
        b_c4: u32,
        y_c4: u32,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and one that it needs for the padding of b.
    struct TwinParams {
        shader: Params,
        b_c: u32,
    }
}

static KERNEL: Kernel = kernel!("concat", TwinParams, twin);

/// The variant: `aligned` for a first map of whole texels.
fn variant(family: Family, aligned: bool) -> Shader {
    family.shader(&KERNEL, vec![("ALIGNED", u32::from(aligned))])
}

impl Concat {
    /// The dispatch of this concatenation.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let y = Shape { c: self.a.c + self.b.c, ..self.a };
        let shader_params =
            Params { texels: y.texels() as u32, a_c: self.a.c as u32, b_c4: self.b.c4() as u32, y_c4: y.c4() as u32 };
        let params = TwinParams { shader: shader_params, b_c: self.b.c as u32 };
        let shader = variant(family, self.a.c.is_multiple_of(TEXEL));
        Dispatch { shader, params: words(&params), grid: flat_grid(y.texels()) }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        [false, true].map(|aligned| variant(family, aligned)).to_vec()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let TwinParams { shader: p, b_c } = params(words);
    let [a, b] = reads else { return };
    let [a_c, b_c] = [p.a_c, b_c].map(|extent| extent as usize);
    let pixels = write.chunks_mut(p.y_c4 as usize * TEXEL).take((p.texels / p.y_c4) as usize);
    for (pixel, y) in pixels.enumerate() {
        y[..a_c].copy_from_slice(&a[pixel * a_c.next_multiple_of(TEXEL)..][..a_c]);
        y[a_c..a_c + b_c].copy_from_slice(&b[pixel * p.b_c4 as usize * TEXEL..][..b_c]);
        y[a_c + b_c..].fill(0.0);
    }
}
