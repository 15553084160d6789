//! The tensors of a source by name, and which of them a weight has taken.

use std::collections::HashMap;

use serde_json::Value as Json;
use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::{Dtype, Level};

use super::error::{Fault, Place, SchemeError};
use super::numbers::{Numbers, Then};

/// Most bytes of a tensor that holds text.
const TEXT_LIMIT: u64 = 1 << 16;

/// The tensors of a source.
pub(super) struct Tensors<'a> {
    /// The files.
    pub source: &'a dyn Source,
    by_name: HashMap<&'a str, usize>,
    taken: Vec<bool>,
}

/// A tensor that is part of a weight.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Its number in the source.
    pub index: usize,
    /// What the file says of it. No dimension has a length of zero.
    pub info: &'a TensorInfo,
    source: &'a dyn Source,
}

impl<'a> Tensors<'a> {
    /// All tensors, none of them taken.
    pub fn new(source: &'a dyn Source) -> Result<Self, SchemeError> {
        let mut by_name = HashMap::with_capacity(source.tensors().len());
        for (index, tensor) in source.tensors().iter().enumerate() {
            if let Some(other) = by_name.insert(tensor.name.as_str(), index) {
                let other = source.tensors()[other].name.clone();
                return Err(fault(source, tensor, Fault::Duplicate { weight: other.clone(), other }));
            }
        }
        Ok(Tensors { source, by_name, taken: vec![false; source.tensors().len()] })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes the tensor of this name, if there is one.
    pub fn take(&mut self, name: &str) -> Result<Option<Part<'a>>, SchemeError> {
        self.by_name.get(name).copied().map(|index| self.take_index(index)).transpose()
    }

    /// Takes the tensor of this name, which belongs to the weight of `main`.
    pub fn need(&mut self, name: &str, main: Part<'a>) -> Result<Part<'a>, SchemeError> {
        self.take(name)?.ok_or_else(|| main.fault(Fault::Missing { part: name.to_owned() }))
    }

    /// Takes a tensor by its number.
    pub fn take_index(&mut self, index: usize) -> Result<Part<'a>, SchemeError> {
        let part = Part { index, info: &self.source.tensors()[index], source: self.source };
        if part.info.shape.contains(&0) {
            return Err(part.shape("no dimension of length zero"));
        }
        self.taken[index] = true;
        Ok(part)
    }

    /// Whether a tensor has been taken.
    pub fn is_taken(&self, index: usize) -> bool {
        self.taken[index]
    }

    /// An error about a tensor.
    pub fn fault(&self, index: usize, what: Fault) -> SchemeError {
        fault(self.source, &self.source.tensors()[index], what)
    }
}

fn fault(source: &dyn Source, tensor: &TensorInfo, fault: Fault) -> SchemeError {
    let file = source.files().get(tensor.file).map(|file| file.to_path_buf()).unwrap_or_default();
    SchemeError::Tensor { place: Box::new(Place { file, tensor: tensor.name.clone(), offset: tensor.offset }), fault }
}

impl<'a> Part<'a> {
    /// An error about the tensor.
    pub fn fault(&self, what: Fault) -> SchemeError {
        fault(self.source, self.info, what)
    }

    /// An error about its shape.
    pub fn shape(&self, expected: impl Into<String>) -> SchemeError {
        self.fault(Fault::Shape { found: self.info.shape.clone(), expected: expected.into() })
    }

    /// An error about its values.
    pub fn value(&self, problem: impl Into<String>) -> SchemeError {
        self.fault(Fault::Value { problem: problem.into() })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.source.view(self.info)
    }

    /// Its shape. The bytes of the tensor are in memory, so a number of its weights fits.
    pub fn dims(&self) -> Vec<usize> {
        self.info.shape.iter().map(|&length| length as usize).collect()
    }

    /// Its shape as that of a matrix.
    pub fn matrix(&self) -> Result<[usize; 2], SchemeError> {
        self.dims().try_into().map_err(|_| self.shape("two dimensions"))
    }

    /// Its shape as that of a matrix, or of a stack of matrices with all rows counted together.
    pub fn stack(&self) -> Result<[usize; 2], SchemeError> {
        match self.dims().as_slice() {
            [rows @ .., columns] if !rows.is_empty() => Ok([rows.iter().product(), *columns]),
            _ => Err(self.shape("two dimensions or more")),
        }
    }

    /// Fails unless it has one of these types.
    pub fn is_of(&self, dtypes: &[Dtype], expected: &'static str) -> Result<(), SchemeError> {
        match dtypes.contains(&self.info.dtype) {
            true => Ok(()),
            false => Err(self.fault(Fault::Dtype { found: self.info.dtype, expected })),
        }
    }

    /// Fails unless it has this shape.
    pub fn has_shape(&self, shape: &[usize]) -> Result<(), SchemeError> {
        match self.dims() == shape {
            true => Ok(()),
            false => Err(self.shape(format!("{shape:?}"))),
        }
    }

    /// Its floating-point numbers.
    pub fn numbers(&self) -> Result<Numbers, SchemeError> {
        use Dtype::{BF16, F8_E4M3, F8_E8M0, F16, F32, F64};
        self.is_of(&[F32, BF16, F16, F64, F8_E8M0, F8_E4M3], "a floating-point type")?;
        Ok(Numbers::plain(self.index, self.info.dtype))
    }

    /// Its 8-bit floats, which unsigned bytes may hold.
    pub fn e4m3(&self) -> Result<Numbers, SchemeError> {
        self.is_of(&[Dtype::U8, Dtype::F8_E4M3], "U8 or F8_E4M3")?;
        Ok(Numbers::plain(self.index, Dtype::F8_E4M3))
    }

    /// Its signed bytes as numbers.
    pub fn signed(&self) -> Result<Numbers, SchemeError> {
        self.is_of(&[Dtype::I8], "I8")?;
        Ok(Numbers::plain(self.index, Dtype::I8))
    }

    /// Its powers of two, of which unsigned bytes may hold the exponents.
    pub fn exponents(&self) -> Result<Numbers, SchemeError> {
        self.is_of(&[Dtype::U8, Dtype::F8_E8M0], "U8 or F8_E8M0")?;
        Ok(Numbers::plain(self.index, Dtype::F8_E8M0))
    }

    /// The only number of the tensor, positive.
    pub fn positive(&self) -> Result<f32, SchemeError> {
        let numbers = self.numbers()?;
        if self.info.weights() != 1 {
            return Err(self.shape("a single number"));
        }
        let mut number = [0.0];
        numbers.read(self.source, Level::SCALAR, 0..1, &mut number);
        match number[0] {
            number if number > 0.0 && number.is_finite() => Ok(number),
            other => Err(self.value(format!("is {other}; a scale is positive and finite"))),
        }
    }

    /// Exactly `N` floats.
    pub fn floats<const N: usize>(&self) -> Result<[f32; N], SchemeError> {
        if self.info.weights() != N as u64 {
            return Err(self.shape(format!("{N} numbers")));
        }
        let mut floats = [0.0; N];
        self.numbers()?.read(self.source, Level::SCALAR, 0..N, &mut floats);
        Ok(floats)
    }

    /// 32-bit integers.
    pub fn integers(&self) -> Result<impl Iterator<Item = i32> + Clone + 'a, SchemeError> {
        self.is_of(&[Dtype::I32], "I32")?;
        Ok(self.bytes().as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)))
    }

    /// Two positive integers.
    pub fn pair(&self) -> Result<[usize; 2], SchemeError> {
        self.is_of(&[Dtype::I64, Dtype::I32], "I64 or I32")?;
        self.has_shape(&[2])?;
        let bytes = self.bytes();
        let lengths = match self.info.dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect::<Vec<_>>(),
            _ => bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect(),
        };
        match *lengths.iter().filter_map(|&length| usize::try_from(length).ok()).collect::<Vec<_>>() {
            [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
            _ => Err(self.value(format!("is {lengths:?}, not two positive lengths"))),
        }
    }

    /// The JSON text that its bytes are.
    pub fn json(&self) -> Result<Json, SchemeError> {
        self.is_of(&[Dtype::U8], "U8")?;
        if self.info.bytes > TEXT_LIMIT {
            return Err(self.value(format!("has {} bytes; the limit of such a text is {TEXT_LIMIT}", self.info.bytes)));
        }
        serde_json::from_slice(self.bytes()).map_err(|error| self.value(format!("is not the expected text: {error}")))
    }
}

impl Numbers {
    /// The numbers changed so.
    pub fn then(self, then: Then) -> Self {
        Numbers { then, ..self }
    }
}
