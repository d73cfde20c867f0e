//! Operators: one file and one struct for each, with all its properties: fields, shape rule, cost, storage, definition
//! in float64, lowering, tangent, and its part in fusing, folding, stacking and strips.
//!
//! [`Op`] is the table of them and only dispatches. Values are NHWC maps ([`Shape`]); tokens are a map of height 1,
//! vectors are a map of 1 x 1. In an operator `x` is the map it works on, and `(value, channel)` a range of the
//! channels of a map that begins at `channel`.

mod activate;
mod add;
mod adjoint;
mod affine;
mod attention;
mod average_pool;
mod channels;
mod combine;
mod concat;
mod conv2d;
mod fir;
mod gate;
mod graph;
mod group_norm;
mod input;
mod layer_norm;
mod mix_tokens;
mod modulate;
mod operands;
mod pool;
mod resize_bilinear;
mod softmax;
mod spread;
mod tangent;
mod timestep_embedding;
mod unpatchify;
mod upsample_nearest;
mod weight;

use std::collections::BTreeMap;

pub use activate::Activate;
pub use add::Add;
pub use adjoint::{AttentionAdjoint, GateAdjoint, ScaleChannels};
pub use affine::Affine;
pub use attention::Attention;
pub use average_pool::AveragePool;
pub use channels::Channels;
pub use combine::Combine;
pub use concat::Concat;
pub use conv2d::{Conv2d, Epilogue};
pub use fir::Fir;
pub use gate::Gate;
pub use graph::{Graph, Node, Value};
pub use group_norm::GroupNorm;
pub use input::Input;
pub use layer_norm::LayerNorm;
pub use mix_tokens::MixTokens;
pub use modulate::Modulate;
pub use operands::{Operand, OperandMut, Operands};
pub use pool::Pool;
pub use resize_bilinear::ResizeBilinear;
pub use softmax::Softmax;
pub use spread::{NearestSums, Spread};
pub use tangent::{ActivateTangent, AttentionTangent, GateTangent, GroupNormTangent, LayerNormTangent, SoftmaxTangent};
pub use timestep_embedding::TimestepEmbedding;
pub use unpatchify::Unpatchify;
pub use upsample_nearest::UpsampleNearest;
pub(super) use weight::padded_kernel;
pub use weight::{HeadSide, Heads, Weight, WeightForm, WeightId, WeightSource};

use super::adjoint::PullBack;
use super::fold::{Folding, Reader};
use super::fuse::Fusion;
use super::lower::Lowering;
use super::reference::{Array, Evaluation};
use super::tangent::Transform;
use crate::error::Result;
pub use crate::kernels::Activation;
use crate::kernels::Family;
use crate::tensor::Shape;

/// A node that exists or is about to: what a method of an operator may know of its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The graph, with at least the nodes before this one.
    pub graph: &'a Graph,
    /// The result of the node.
    pub value: Value,
    /// The shape of the result.
    pub shape: Shape,
    /// The label of the node.
    pub label: &'a str,
}

impl At<'_> {
    /// The shape of an operand.
    #[must_use]
    pub fn of(&self, value: Value) -> Shape {
        self.graph.shape(value)
    }

    /// The form of a weight.
    #[must_use]
    pub fn form(&self, weight: WeightId) -> WeightForm {
        self.graph.weights[weight.0].form
    }
}

/// The storage that a result asks for where maps are stored in float16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapStorage {
    /// A map may be float16.
    Half,
    /// The result is always float32: it is fed by the host, or too precise for float16.
    Full,
    /// Every map of a graph with this operator is float32.
    FullGraph,
}

/// A rule that operands break, in words.
pub type Rule = &'static str;

/// Everything that is known about an operator. The methods without a default have to be stated by each; a default
/// takes no part in an optimisation, which is always right.
pub trait Operator: Operands {
    /// Checks shapes and forms of the operands against the shape of the result.
    ///
    /// # Errors
    /// The rule that is broken.
    fn check(&self, at: &At) -> std::result::Result<(), Rule>;

    /// Multiply-adds of products over real channels: neither padding to texels nor an algorithm that saves products is
    /// counted, and no arithmetic outside of products.
    fn multiply_adds(&self, at: &At) -> usize;

    /// The storage of the result.
    fn storage(&self) -> MapStorage;

    /// Evaluates the definition in float64.
    ///
    /// # Errors
    /// Those of the inputs and weights.
    fn evaluate(&self, shape: Shape, evaluation: &Evaluation) -> Result<Array>;

    /// The operation with its extents in words, for tables of times. `None`, as by default, stands for the name of the
    /// operator and the extents of its result.
    fn extents(&self, at: &At) -> Option<String> {
        let _ = at;
        None
    }

    /// Adds the dispatches that compute the result.
    fn lower(&self, at: &At, to: &mut Lowering);

    /// Adds the value and its tangent to a graph of tangents; something that the operator reads has a tangent.
    /// Returns (value, tangent).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if there is no rule ([`super::tangent::no_rule`]).
    fn tangent(&self, at: &At, to: &mut Transform) -> Result<(Value, Value)>;

    /// Adds to the adjoints of what the operator reads, given that of its result; something that it reads depends on
    /// the input.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if there is no rule ([`super::adjoint::no_rule`]), as by default.
    fn adjoint(&self, at: &At, adjoint: Value, to: &mut PullBack) -> Result<()> {
        let _ = (adjoint, to);
        Err(super::adjoint::no_rule(at))
    }

    /// This operator with an operand's producer taken in, where a pattern of [`super::fuse`] fits.
    fn fuse(&self, at: &At, fusion: &Fusion) -> Option<Op> {
        let _ = (at, fusion);
        None
    }

    /// The same operator followed by an activation.
    fn with_activation(&self, activation: Activation) -> Option<Op> {
        let _ = activation;
        None
    }

    /// The same operator with one vector per image added to its result.
    fn with_vector(&self, vector: Value) -> Option<Op> {
        let _ = vector;
        None
    }

    /// The same operator with a map added to its result, and both multiplied by `scale`.
    fn with_residual(&self, residual: Value, scale: f32) -> Option<Op> {
        let _ = (residual, scale);
        None
    }

    /// The way `readers` read the operands instead of the result, so that it is never materialised ([`super::fold`]).
    fn fold(&self, at: &At, readers: &[Reader], family: Family) -> Option<Folding> {
        let _ = (at, readers, family);
        None
    }

    /// The operand that is read as a part of one vector per image, which may become a part of a longer vector
    /// ([`super::stack`]).
    fn vector_part(&mut self) -> Option<&mut (Value, usize)> {
        None
    }

    /// Rows of the result that are wrong at an edge within the map, given those of the operands; `None` if all may be
    /// wrong ([`super::strips`]).
    fn margin(&self, at: &At, margins: &BTreeMap<Value, usize>) -> Option<usize> {
        let _ = (at, margins);
        None
    }
}

/// The table of operators.
macro_rules! operators {
    ($($name:ident,)*) => {
        /// An operator.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl Op {
            /// The operator itself.
            #[must_use]
            pub fn operator(&self) -> &dyn Operator {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }

            /// The name of the operator in this table.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// The operator itself, to change it.
            pub fn operator_mut(&mut self) -> &mut dyn Operator {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }
        }
    };
}

operators! {
    Input,
    Conv2d,
    GroupNorm,
    Affine,
    LayerNorm,
    Activate,
    Gate,
    Modulate,
    Unpatchify,
    Add,
    Concat,
    UpsampleNearest,
    AveragePool,
    Pool,
    ResizeBilinear,
    Fir,
    Attention,
    TimestepEmbedding,
    Combine,
    ActivateTangent,
    GroupNormTangent,
    LayerNormTangent,
    AttentionTangent,
    GateTangent,
    SoftmaxTangent,
    AttentionAdjoint,
    GateAdjoint,
    ScaleChannels,
    Channels,
    Spread,
    NearestSums,
    MixTokens,
    Softmax,
}

impl Operands for Op {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        self.operator().visit(see);
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        self.operator_mut().visit_mut(change);
    }
}

impl Op {
    /// The values that the operator reads, in the order of its fields.
    #[must_use]
    pub fn reads(&self) -> Vec<Value> {
        let mut reads = Vec::new();
        self.operator().visit(&mut |operand| match operand {
            Operand::Value(value) => reads.push(value),
            Operand::Weight(_) => {}
        });
        reads
    }

    /// The weights that the operator reads, in the order of its fields.
    #[must_use]
    pub fn weights(&self) -> Vec<WeightId> {
        let mut weights = Vec::new();
        self.operator().visit(&mut |operand| match operand {
            Operand::Value(_) => {}
            Operand::Weight(id) => weights.push(id),
        });
        weights
    }

    /// Visits every value that the operator reads, to replace it.
    pub fn for_each_read(&mut self, mut change: impl FnMut(&mut Value)) {
        self.operator_mut().visit_mut(&mut |operand| match operand {
            OperandMut::Value(value) => change(value),
            OperandMut::Weight(_) => {}
        });
    }

    /// Visits every weight that the operator reads, to replace it.
    pub fn for_each_weight(&mut self, mut change: impl FnMut(&mut WeightId)) {
        self.operator_mut().visit_mut(&mut |operand| match operand {
            OperandMut::Value(_) => {}
            OperandMut::Weight(id) => change(id),
        });
    }
}

/// `rule` as an error unless it holds.
fn require(holds: bool, rule: Rule) -> std::result::Result<(), Rule> {
    if holds { Ok(()) } else { Err(rule) }
}
