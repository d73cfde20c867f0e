//! The names that a pickle may use, and what stands for the calls of them. This table is the whole of what a file can
//! ask for; none of it is Python.

use safetensors::Dtype;

use super::values::{Heap, Id, StorageName, TensorView, Value};
use crate::tensor::MOST_DIMENSIONS;

/// A name that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict` and `dict`: a dictionary.
    Dictionary,
    /// `set`, `frozenset`, `list` and `tuple`: a sequence.
    Sequence,
    /// `torch.Size`: a tuple of numbers.
    Size,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: a view of a storage.
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: a view of bytes.
    TypedTensor,
    /// `torch._utils._rebuild_parameter`: the tensor that is given.
    Parameter,
    /// A class of storages: the type of the elements; `None` for bytes.
    Storage(Option<Dtype>),
    /// A type of numbers in `PyTorch`.
    Dtype(Dtype),
    /// `torch.device`.
    Device,
    /// `_codecs.encode`: bytes as protocol 2 writes them.
    Encode,
    /// `numpy.dtype`.
    NumpyDtype,
    /// `numpy.core.multiarray.scalar`: a number.
    NumpyScalar,
}

/// The storages of `PyTorch` and the types of their elements.
const STORAGES: [(&str, Option<Dtype>); 12] = [
    ("DoubleStorage", Some(Dtype::F64)),
    ("FloatStorage", Some(Dtype::F32)),
    ("HalfStorage", Some(Dtype::F16)),
    ("BFloat16Storage", Some(Dtype::BF16)),
    ("LongStorage", Some(Dtype::I64)),
    ("IntStorage", Some(Dtype::I32)),
    ("ShortStorage", Some(Dtype::I16)),
    ("CharStorage", Some(Dtype::I8)),
    ("ByteStorage", Some(Dtype::U8)),
    ("BoolStorage", Some(Dtype::BOOL)),
    ("ComplexFloatStorage", Some(Dtype::C64)),
    ("UntypedStorage", None),
];

/// The types of numbers of `PyTorch`.
const DTYPES: [(&str, Dtype); 16] = [
    ("float64", Dtype::F64),
    ("float32", Dtype::F32),
    ("float16", Dtype::F16),
    ("bfloat16", Dtype::BF16),
    ("int64", Dtype::I64),
    ("int32", Dtype::I32),
    ("int16", Dtype::I16),
    ("int8", Dtype::I8),
    ("uint64", Dtype::U64),
    ("uint32", Dtype::U32),
    ("uint16", Dtype::U16),
    ("uint8", Dtype::U8),
    ("bool", Dtype::BOOL),
    ("complex64", Dtype::C64),
    ("float8_e4m3fn", Dtype::F8_E4M3),
    ("float8_e5m2", Dtype::F8_E5M2),
];

impl Global {
    /// Finds a name; `None` for every other.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => Some(Self::Dictionary),
            ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple") => Some(Self::Sequence),
            ("torch", "Size") => Some(Self::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::Tensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Self::TypedTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::Parameter),
            ("torch", "device") => Some(Self::Device),
            ("_codecs", "encode") => Some(Self::Encode),
            ("numpy", "dtype") => Some(Self::NumpyDtype),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Some(Self::NumpyScalar),
            ("torch" | "torch.cuda" | "torch.storage", _) => {
                let storage = STORAGES.iter().find(|(storage, _)| *storage == name);
                let dtype = || DTYPES.iter().find(|(dtype, _)| module == "torch" && *dtype == name);
                let storage = storage.map(|(_, dtype)| Self::Storage(*dtype));
                storage.or_else(|| dtype().map(|(_, dtype)| Self::Dtype(*dtype)))
            }
            _ => None,
        }
    }

    /// The name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dictionary => "collections.OrderedDict",
            Self::Sequence => "builtins.set",
            Self::Size => "torch.Size",
            Self::Tensor => "torch._utils._rebuild_tensor_v2",
            Self::TypedTensor => "torch._utils._rebuild_tensor_v3",
            Self::Parameter => "torch._utils._rebuild_parameter",
            Self::Storage(_) => "torch.Storage",
            Self::Dtype(_) => "torch.dtype",
            Self::Device => "torch.device",
            Self::Encode => "_codecs.encode",
            Self::NumpyDtype => "numpy.dtype",
            Self::NumpyScalar => "numpy.core.multiarray.scalar",
        }
    }

    /// The value that a call of the name with these arguments stands for; `None` if they do not fit.
    pub(super) fn call(self, heap: &Heap, storages: &[StorageName], arguments: &[Id]) -> Option<Value> {
        match (self, arguments) {
            (Self::Dictionary, []) => Some(Value::Dict(Vec::new())),
            (Self::Dictionary, [pairs]) => {
                let pair = |id: &Id| match heap.items(*id) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                };
                let entries = heap.items(*pairs)?.iter().map(pair).collect::<Option<Vec<_>>>();
                entries.map(Value::Dict)
            }
            (Self::Sequence, []) => Some(Value::List(Vec::new())),
            (Self::Sequence, [items]) => Some(Value::List(heap.items(*items)?.to_vec())),
            (Self::Size, [items]) => Some(Value::Tuple(heap.items(*items)?.to_vec())),
            (Self::Tensor, [storage, offset, shape, steps, ..]) => {
                tensor(heap, storages, [*storage, *offset, *shape, *steps], None)
            }
            (Self::TypedTensor, [storage, offset, shape, steps, _, _, dtype, ..]) => match heap.get(*dtype) {
                Value::Global(Self::Dtype(dtype)) => {
                    tensor(heap, storages, [*storage, *offset, *shape, *steps], Some(*dtype))
                }
                _ => None,
            },
            (Self::Parameter, [data, ..]) => match heap.get(*data) {
                Value::Tensor(view) => Some(Value::Tensor(view.clone())),
                _ => None,
            },
            (Self::Device | Self::NumpyDtype, [..]) => Some(Value::Other),
            (Self::Encode, [_, _]) => Some(Value::Bytes),
            (Self::NumpyScalar, [_, _]) => Some(Value::Number),
            _ => None,
        }
    }
}

/// A view of a storage, whose elements are all in it.
fn tensor(heap: &Heap, storages: &[StorageName], parts: [Id; 4], dtype: Option<Dtype>) -> Option<Value> {
    let [storage, offset, shape, steps] = parts;
    let Value::Storage(storage) = *heap.get(storage) else { return None };
    let (offset, shape, steps) = (heap.count(offset)?, heap.counts(shape)?, heap.counts(steps)?);
    if shape.len() != steps.len() || shape.len() > MOST_DIMENSIONS {
        return None;
    }
    let name = storages.get(storage)?;
    let dtype = dtype.or(name.dtype)?;
    let size = dtype.bitsize() / 8;
    let mut view = TensorView { storage, dtype, offset, shape, steps };
    let reach = view.reach()?.checked_mul(size)?;
    if reach > name.count.checked_mul(name.size())? {
        return None;
    }
    view.offset = offset.checked_add(name.first)?;
    Some(Value::Tensor(Box::new(view)))
}
