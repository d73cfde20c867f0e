//! Weights of a graph: named sources of numbers with a logical shape. [`crate::graph::weights`] packs them.

use crate::tensor::TEXEL;

/// A weight of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub usize);

/// A weight: the source of its numbers and its logical shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its name in messages: the checkpoint key of its first part.
    pub name: String,
    /// The source of its numbers.
    pub source: WeightSource,
    /// The form the operation that reads it expects.
    pub form: WeightForm,
}

/// The source of the numbers of a weight.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightSource {
    /// Tensors of the checkpoint, stacked along the output dimension (several: one matrix product for q, k and v).
    Checkpoint(Vec<String>),
    /// A tensor of the checkpoint in another order: row i of the weight is row `order[i]` of the tensor, along the
    /// output dimension.
    Rows {
        /// The tensor.
        key: String,
        /// As many rows as the weight has outputs.
        order: Vec<usize>,
    },
    /// Numbers known when the graph is built, row-major in the form's own shape.
    Constant(Vec<f32>),
    /// The transpose of another kernel: turned around, inputs and outputs exchanged.
    Transposed(Box<Weight>),
    /// Other weights without attention heads, stacked along the output dimension: one product for several layers.
    Stack(Vec<Weight>),
}

/// The logical shape of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightForm {
    /// A kernel in `PyTorch`'s order (out, in, height, width); a matrix is a kernel of 1 x 1 and may be stored (out,
    /// in). `heads` pads the outputs ([`HeadSide::Out`]) or the inputs ([`HeadSide::In`]) of each attention head with
    /// zeros to whole texels, so that a head always begins on a texel.
    Kernel { out: usize, input: usize, height: usize, width: usize, heads: Option<Heads> },
    /// A vector of this length; `heads` as above.
    Vector { len: usize, heads: Option<Heads> },
}

/// Attention heads along the channels: `count` heads (of all stacked parts) of `dim` channels each, padded to
/// [`Heads::padded_dim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads along the dimension, all stacked parts together (3 x heads for q, k and v in one matrix).
    pub count: usize,
    /// Channels of a head.
    pub dim: usize,
    /// The side of a kernel that has the heads.
    pub side: HeadSide,
}

/// The side of a kernel that has attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSide {
    /// The outputs: projections to queries, keys, values.
    Out,
    /// The inputs: the projection after attention.
    In,
}

impl Heads {
    /// Channels of a head on the device: `dim` rounded up to whole texels.
    #[must_use]
    pub const fn padded_dim(self) -> usize {
        self.dim.div_ceil(TEXEL) * TEXEL
    }

    /// The same heads on the other side of a kernel.
    #[must_use]
    pub const fn turned(self) -> Self {
        let side = match self.side {
            HeadSide::Out => HeadSide::In,
            HeadSide::In => HeadSide::Out,
        };
        Self { side, ..self }
    }

    /// Channels of all heads together on the device.
    #[must_use]
    pub const fn padded_len(self) -> usize {
        self.count * self.padded_dim()
    }
}

/// The extents (out, in) of a kernel on the device, heads padded.
#[must_use]
pub const fn padded_kernel(out: usize, input: usize, heads: Option<Heads>) -> (usize, usize) {
    match heads {
        None => (out, input),
        Some(heads) => match heads.side {
            HeadSide::Out => (heads.padded_len(), input),
            HeadSide::In => (out, heads.padded_len()),
        },
    }
}

impl WeightForm {
    /// The extents (out, in) of a kernel on the device, heads padded; `None` for a vector.
    #[must_use]
    pub const fn padded_kernel(self) -> Option<(usize, usize)> {
        match self {
            Self::Kernel { out, input, heads, .. } => Some(padded_kernel(out, input, heads)),
            Self::Vector { .. } => None,
        }
    }

    /// The length of a vector on the device, heads padded; `None` for a kernel.
    #[must_use]
    pub const fn padded_vector(self) -> Option<usize> {
        match self {
            Self::Vector { len, heads: None } => Some(len),
            Self::Vector { heads: Some(heads), .. } => Some(heads.padded_len()),
            Self::Kernel { .. } => None,
        }
    }

    /// The number of values, without padding.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a form without values is never built")]
    pub const fn len(self) -> usize {
        match self {
            Self::Kernel { out, input, height, width, .. } => out * input * height * width,
            Self::Vector { len, .. } => len,
        }
    }
}
