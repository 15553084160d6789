//! The names that a pickled checkpoint may refer to. Nothing that is not here is understood, and what is here is data.

use weightmill_kernels::Dtype;

/// One name and what it stands for.
#[derive(Debug)]
pub(super) struct Global {
    module: &'static str,
    name: &'static str,
    pub meaning: Meaning,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A dictionary that keeps its order, as every dictionary does here.
    OrderedDict,
    /// A shape, made from a tuple.
    Size,
    /// A tensor from storage, offset, shape and strides.
    Tensor,
    /// The same with a type, for storages that have none.
    TypedTensor,
    /// A trainable tensor: the tensor itself.
    Parameter,
    /// A storage of elements of one type, or of bytes.
    Storage(Option<Dtype>),
    /// A type of elements.
    Dtype(Dtype),
}

const fn row(module: &'static str, name: &'static str, meaning: Meaning) -> Global {
    Global { module, name, meaning }
}

const fn storage(name: &'static str, dtype: Dtype) -> Global {
    row("torch", name, Meaning::Storage(Some(dtype)))
}

const fn dtype(name: &'static str, dtype: Dtype) -> Global {
    row("torch", name, Meaning::Dtype(dtype))
}

// torch/_utils.py, torch/storage.py, and `Tensor._reduce_ex_internal` in torch/_tensor.py, which writes typed tensors
// where a storage class of the type does not exist.
static GLOBALS: [Global; 32] = [
    row("collections", "OrderedDict", Meaning::OrderedDict),
    row("torch", "Size", Meaning::Size),
    row("torch._utils", "_rebuild_tensor_v2", Meaning::Tensor),
    row("torch._utils", "_rebuild_tensor_v3", Meaning::TypedTensor),
    row("torch._utils", "_rebuild_parameter", Meaning::Parameter),
    row("torch.storage", "UntypedStorage", Meaning::Storage(None)),
    storage("FloatStorage", Dtype::F32),
    storage("HalfStorage", Dtype::F16),
    storage("BFloat16Storage", Dtype::BF16),
    storage("DoubleStorage", Dtype::F64),
    storage("LongStorage", Dtype::I64),
    storage("IntStorage", Dtype::I32),
    storage("ShortStorage", Dtype::I16),
    storage("CharStorage", Dtype::I8),
    storage("ByteStorage", Dtype::U8),
    storage("BoolStorage", Dtype::BOOL),
    dtype("float32", Dtype::F32),
    dtype("float16", Dtype::F16),
    dtype("bfloat16", Dtype::BF16),
    dtype("float64", Dtype::F64),
    dtype("int64", Dtype::I64),
    dtype("int32", Dtype::I32),
    dtype("int16", Dtype::I16),
    dtype("int8", Dtype::I8),
    dtype("uint8", Dtype::U8),
    dtype("uint16", Dtype::U16),
    dtype("uint32", Dtype::U32),
    dtype("uint64", Dtype::U64),
    dtype("bool", Dtype::BOOL),
    dtype("float8_e4m3fn", Dtype::F8_E4M3),
    dtype("float8_e5m2", Dtype::F8_E5M2),
    dtype("float8_e8m0fnu", Dtype::F8_E8M0),
];

/// The row of a name, if there is one.
pub(super) fn find(module: &str, name: &str) -> Option<&'static Global> {
    GLOBALS.iter().find(|row| row.module == module && row.name == name)
}
