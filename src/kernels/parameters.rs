//! Blocks of parameters: the fields of `Params` in the shaders of a kernel, and after them what only the twin reads,
//! which the shaders have as constants or from their grid. A test compares the blocks with the shaders field by
//! field.

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A word.
    U32,
    /// A word.
    F32,
    /// Several words, each of them a field of the shader.
    Words(usize),
    /// The fields of another block.
    Block(&'static [Field]),
}

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: FieldType,
}

impl FieldType {
    /// The number of words.
    fn words(self) -> usize {
        match self {
            Self::U32 | Self::F32 => 1,
            Self::Words(count) => count,
            Self::Block(fields) => fields.iter().map(|field| field.kind.words()).sum(),
        }
    }
}

/// The place of a field among the words of a block, by its name there or in a block within it.
pub(super) fn place(fields: &[Field], name: &str) -> Option<usize> {
    let mut first = 0;
    for field in fields {
        if field.name == name {
            return Some(first);
        }
        if let FieldType::Block(inner) = field.kind
            && let Some(within) = place(inner, name)
        {
            return Some(first + within);
        }
        first += field.kind.words();
    }
    None
}

/// A type that a field can have.
pub(super) trait FieldValue {
    const KIND: FieldType;
}

impl FieldValue for u32 {
    const KIND: FieldType = FieldType::U32;
}

impl FieldValue for f32 {
    const KIND: FieldType = FieldType::F32;
}

impl<const M: usize, const N: usize> FieldValue for [[u32; N]; M] {
    const KIND: FieldType = FieldType::Words(M * N);
}

/// Defines a block of parameters: a struct of words, and `FIELDS`, the list of its fields.
macro_rules! parameters {
    ($(#[$about:meta])* $visible:vis struct $name:ident {
        $($(#[$of_field:meta])* $see:vis $field:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        $visible struct $name {
            $($(#[$of_field])* $see $field: $kind,)*
        }

        impl $name {
            /// The fields in their order.
            pub(super) const FIELDS: &'static [$crate::kernels::parameters::Field] = &[
                $($crate::kernels::parameters::Field {
                    name: stringify!($field),
                    kind: <$kind as $crate::kernels::parameters::FieldValue>::KIND,
                },)*
            ];
        }

        impl $crate::kernels::parameters::FieldValue for $name {
            const KIND: $crate::kernels::parameters::FieldType =
                $crate::kernels::parameters::FieldType::Block(Self::FIELDS);
        }
    };
}
pub(super) use parameters;

/// Defines a kernel by the name of its template, its parameters and its twin.
macro_rules! kernel {
    ($name:literal, $params:ident, $twin:expr) => {
        $crate::kernels::Kernel {
            name: $name,
            template: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            params: $params::FIELDS,
            twin: $twin,
            declared: std::sync::OnceLock::new(),
        }
    };
}
pub(super) use kernel;
