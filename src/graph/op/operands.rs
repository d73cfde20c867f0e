//! The operands among the fields of an operator, by the types of the fields: a field that names a value or a weight is
//! an operand. [`operands`] lists every field, so that none can be forgotten.

use super::{Activation, Epilogue, Value, WeightId};

/// An operand to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The result of a node.
    Value(Value),
    /// A weight.
    Weight(WeightId),
}

/// An operand to replace.
#[derive(Debug, PartialEq, Eq)]
pub enum OperandMut<'a> {
    /// The result of a node.
    Value(&'a mut Value),
    /// A weight.
    Weight(&'a mut WeightId),
}

/// The operands of an operator.
pub trait Operands {
    /// Visits the operands in the order of the fields.
    fn visit(&self, see: &mut dyn FnMut(Operand));

    /// Visits the operands in the order of the fields, to replace them.
    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut));
}

/// Implements [`Operands`] for the type of an operator, and its conversion into an [`super::Op`]. Every field is named:
/// a field that is left out does not compile.
macro_rules! operands {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::graph::op::operands::Operands for $name {
            fn visit(&self, see: &mut dyn FnMut($crate::graph::op::operands::Operand)) {
                let Self { $($field),* } = self;
                $($crate::graph::op::operands::Operands::visit($field, see);)*
            }

            fn visit_mut(&mut self, change: &mut dyn FnMut($crate::graph::op::operands::OperandMut)) {
                let Self { $($field),* } = self;
                $($crate::graph::op::operands::Operands::visit_mut($field, change);)*
            }
        }

        impl From<$name> for $crate::graph::op::Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        }
    };
}
pub(super) use operands;

impl Operands for Value {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        see(Operand::Value(*self));
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        change(OperandMut::Value(self));
    }
}

impl Operands for WeightId {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        see(Operand::Weight(*self));
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        change(OperandMut::Weight(self));
    }
}

/// A range of channels: a value and its first channel.
impl Operands for (Value, usize) {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        self.0.visit(see);
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        self.0.visit_mut(change);
    }
}

impl<T: Operands> Operands for Option<T> {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        if let Some(operand) = self {
            operand.visit(see);
        }
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        if let Some(operand) = self {
            operand.visit_mut(change);
        }
    }
}

impl<T: Operands> Operands for Vec<T> {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        for operand in self {
            operand.visit(see);
        }
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        for operand in self {
            operand.visit_mut(change);
        }
    }
}

impl<T: Operands, const N: usize> Operands for [T; N] {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        for operand in self {
            operand.visit(see);
        }
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        for operand in self {
            operand.visit_mut(change);
        }
    }
}

impl Operands for Epilogue {
    fn visit(&self, see: &mut dyn FnMut(Operand)) {
        let Self { bias, per_image, activation, residual, scale } = self;
        let fields: [&dyn Operands; 5] = [bias, per_image, activation, residual, scale];
        for field in fields {
            field.visit(see);
        }
    }

    fn visit_mut(&mut self, change: &mut dyn FnMut(OperandMut)) {
        let Self { bias, per_image, activation, residual, scale } = self;
        let fields: [&mut dyn Operands; 5] = [bias, per_image, activation, residual, scale];
        for field in fields {
            field.visit_mut(change);
        }
    }
}

/// Settings are not operands.
macro_rules! settings {
    ($($type:ty),*) => {
        $(impl Operands for $type {
            fn visit(&self, _: &mut dyn FnMut(Operand)) {}
            fn visit_mut(&mut self, _: &mut dyn FnMut(OperandMut)) {}
        })*
    };
}
settings!(usize, (usize, usize), bool, f32, f64, String, Activation);
