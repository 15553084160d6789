//! Storages, and tensors as views of them.

use weightmill_kernels::Dtype;

use super::Defect;
use super::globals::{Global, Meaning};
use super::machine::{Memory, Object, Value};

/// Most dimensions; torch has the same limit.
const MAX_DIMENSIONS: usize = 64;

/// A run of bytes in an entry of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    /// The entry's name: a text.
    pub key: Value,
    /// Type of its elements; none for bytes.
    pub dtype: Option<Dtype>,
    /// Its length.
    pub bytes: u64,
}

/// A view of a storage, row after row.
#[derive(Debug)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub dtype: Dtype,
    /// Row-major.
    pub shape: Vec<u64>,
    /// First byte, counted from the beginning of the storage.
    pub offset: u64,
    pub bytes: u64,
}

impl Storage {
    /// From `("storage", class, key, device, length in elements)`. The device is where it was, not where it goes.
    pub fn new(memory: &Memory<'_>, id: Value) -> Result<Self, Defect> {
        let wrong = Defect::Program("a storage is not described as one");
        let Some(&[kind, Value::Global(Global { meaning: Meaning::Storage(dtype), .. }), key, _, length]) =
            memory.tuple(id)
        else {
            return Err(wrong);
        };
        let (Some("storage"), Some(_), Value::Integer(length)) = (memory.text(kind), memory.text(key), length) else {
            return Err(wrong);
        };
        let bytes = u64::try_from(length).ok().and_then(|length| dtype.unwrap_or(Dtype::U8).byte_size(length));
        Ok(Storage { key, dtype: *dtype, bytes: bytes.ok_or(Defect::Program("a storage of impossible length"))? })
    }
}

/// From `(storage, offset, shape, strides, requires_grad, hooks)`, for `typed` ones a type, and what later versions add.
pub(super) fn rebuild(memory: &Memory<'_>, typed: bool, arguments: &[Value]) -> Result<Tensor, Defect> {
    let wrong = || Defect::Program("a tensor is not described as one");
    let &[storage, Value::Integer(offset), shape, strides, _, _, ref rest @ ..] = arguments else {
        return Err(wrong());
    };
    let Some(Object::Storage(storage)) = memory.object(storage) else { return Err(wrong()) };
    let dtype = match (typed, storage.dtype, rest) {
        (false, Some(dtype), _) => dtype,
        (true, _, [Value::Global(Global { meaning: Meaning::Dtype(dtype), .. }), ..]) => *dtype,
        _ => return Err(wrong()),
    };
    let shape: Vec<u64> =
        integers(memory, shape)?.into_iter().map(u64::try_from).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let strides = integers(memory, strides)?;
    if shape.len() != strides.len() {
        return Err(wrong());
    }
    let size = |elements: u64| dtype.byte_size(elements);
    let weights = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
    let Some(bytes) = weights.and_then(size) else { return Err(Defect::Program("a tensor of impossible size")) };
    if bytes > 0 && !is_contiguous(&shape, &strides) {
        return Err(Defect::Strided { shape, strides });
    }
    let begin = u64::try_from(offset).ok().and_then(size);
    let Some((offset, end)) = begin.and_then(|begin| Some((begin, begin.checked_add(bytes)?))) else {
        return Err(Defect::Program("a tensor at an impossible place"));
    };
    if end > storage.bytes {
        return Err(Defect::OutsideStorage { end, length: storage.bytes });
    }
    Ok(Tensor { storage: *storage, dtype, shape, offset, bytes })
}

fn integers(memory: &Memory<'_>, tuple: Value) -> Result<Vec<i64>, Defect> {
    let wrong = || Defect::Program("a shape or stride is no tuple of integers");
    let elements = memory.tuple(tuple).ok_or_else(wrong)?;
    if elements.len() > MAX_DIMENSIONS {
        return Err(Defect::TooMany { what: "dimensions in a tensor", limit: MAX_DIMENSIONS });
    }
    let integer = |element: &Value| if let Value::Integer(number) = element { Ok(*number) } else { Err(wrong()) };
    elements.iter().map(integer).collect()
}

/// True if every weight lies behind the one before it. How far a dimension of length 1 would stride does not matter.
fn is_contiguous(shape: &[u64], strides: &[i64]) -> bool {
    let mut expected = 1u64;
    shape.iter().zip(strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || u64::try_from(stride) == Ok(expected);
        expected = expected.saturating_mul(length);
        fits
    })
}
