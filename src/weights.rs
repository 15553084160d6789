//! The weights of a source as its publisher means them: one named matrix each, whatever tensors hold it.
//!
//! Most are stored plainly, as one tensor. Of a quantized checkpoint several tensors (codes, scales, zero points) make
//! up one weight; it is decoded chunk by chunk while it is read, never as a second copy.

use std::ops::Range;

use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

use crate::folding::Factors;

/// A source and the weights in it.
pub struct Weights {
    source: Box<dyn Source>,
    list: Vec<Weight>,
}

/// One weight: a vector, matrix or stack of matrices.
#[derive(Debug)]
pub struct Weight {
    /// Name by which architectures know it, as in `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<u64>,
    /// Type of the values: a plain tensor's own; for an encoded one the type that they are rounded to after decoding.
    pub dtype: Dtype,
    /// How it is stored.
    pub storage: Storage,
    /// What its values are multiplied with once they are decoded: the scales that are folded into it.
    pub factors: Option<Factors>,
}

/// How a weight is stored.
#[derive(Debug)]
pub enum Storage {
    /// As tensor number so much of the source.
    Plain(usize),
    /// In several tensors together.
    Encoded(Box<dyn Encoded>),
}

/// A weight that a scheme keeps in several tensors. The shape is seen as `[rows, columns]`, columns last, all leading
/// dimensions as rows; a vector is one row.
pub trait Encoded: std::fmt::Debug + Send + Sync {
    /// How it is stored, for reports: as in `GPTQ 4-bit` or `F8_E4M3 128x128`.
    fn name(&self) -> String;

    /// The tensors that it is read from, by their number in the source; the largest first.
    fn parts(&self) -> Vec<usize>;

    /// Decodes a rectangle into `dst`, row by row: `rows.len() * columns.len()` values.
    ///
    /// The values are those of the format's definition in f32, before any rounding to [`Weight::dtype`].
    fn decode(&self, source: &dyn Source, level: Level, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]);

    /// The type of GGUF whose blocks can hold exactly these values, if there is one.
    fn lossless(&self) -> Option<Dtype> {
        None
    }

    /// Writes whole rows as blocks of the type that [`Self::lossless`] names.
    ///
    /// # Panics
    /// If there is no such type.
    fn repack(&self, source: &dyn Source, rows: Range<usize>, dst: &mut [u8]) {
        let _ = (source, rows, dst);
        unreachable!("{} has no lossless type", self.name());
    }
}

impl Weights {
    /// Every tensor of `source` is a weight.
    pub fn plain(source: Box<dyn Source>) -> Self {
        let list = source.tensors().iter().enumerate().map(|(index, tensor)| Weight::plain(index, tensor)).collect();
        Self { source, list }
    }

    /// Weights that were found in `source`.
    pub fn new(source: Box<dyn Source>, list: Vec<Weight>) -> Self {
        Self { source, list }
    }

    /// The files.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// All weights.
    pub fn list(&self) -> &[Weight] {
        &self.list
    }

    /// The stored tensor of a plain weight.
    pub fn tensor(&self, weight: &Weight) -> Option<&TensorInfo> {
        match weight.storage {
            Storage::Plain(index) => Some(&self.source.tensors()[index]),
            Storage::Encoded(_) => None,
        }
    }

    /// The tensor that a weight is mainly stored in: by it its place in the files and its name in messages are known.
    pub fn main_tensor(&self, weight: &Weight) -> &TensorInfo {
        &self.source.tensors()[weight.parts()[0]]
    }

    /// Bytes of all tensors that make up `weight`.
    pub fn stored_bytes(&self, weight: &Weight) -> u64 {
        weight.parts().into_iter().map(|part| self.source.tensors()[part].bytes).sum()
    }

    /// Gives weight number `weight` factors, in place of those that it has.
    pub fn fold(&mut self, weight: usize, factors: Factors) {
        self.list[weight].factors = Some(factors);
    }

    /// Decodes a rectangle of `weight`, seen as `[rows, columns]`, into `dst`, its factors included. For types with blocks of
    /// several weights the columns are whole blocks.
    pub fn decode(&self, weight: &Weight, level: Level, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]) {
        self.decode_stored(weight, level, rows.clone(), columns.clone(), dst);
        if let Some(factors) = &weight.factors {
            // what is decoded is rounded before, as it is where there are none: the product is not
            if weight.encoded().is_some_and(|encoded| encoded.lossless().is_none()) {
                round(level, weight.dtype, dst);
            }
            factors.apply(weight, rows, columns, dst);
        }
    }

    /// The same without its factors.
    pub(crate) fn decode_stored(
        &self,
        weight: &Weight,
        level: Level,
        rows: Range<usize>,
        columns: Range<usize>,
        dst: &mut [f32],
    ) {
        match &weight.storage {
            Storage::Encoded(encoded) => encoded.decode(self.source(), level, rows, columns, dst),
            Storage::Plain(index) => {
                let tensor = &self.source.tensors()[*index];
                let view = self.source.view(tensor);
                let info = tensor.dtype.info();
                let bytes = |weights: usize| weights / info.block_len * info.block_bytes;
                let width = weight.columns();
                if columns == (0..width) {
                    dequantize(level, tensor.dtype, &view[bytes(rows.start * width)..bytes(rows.end * width)], dst);
                    return;
                }
                for (row, dst) in rows.zip(dst.chunks_exact_mut(columns.len())) {
                    let first = row * width;
                    let view = &view[bytes(first + columns.start)..bytes(first + columns.end)];
                    dequantize(level, tensor.dtype, view, dst);
                }
            }
        }
    }

    /// Tells the system that these elements of a weight are not needed again. Of encoded weights the same share of every
    /// part is meant, which is exact for those stored row by row and harmless for others.
    pub fn release(&self, weight: &Weight, elements: Range<u64>) {
        let total = weight.elements().max(1);
        for tensor in weight.parts().into_iter().map(|part| &self.source.tensors()[part]) {
            let at = |element: u64| (u128::from(tensor.bytes) * u128::from(element) / u128::from(total)) as u64;
            self.source.release(tensor, at(elements.start)..at(elements.end));
        }
    }
}

impl Weight {
    /// Tensor `index` of a source as it is.
    pub fn plain(index: usize, tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype,
            storage: Storage::Plain(index),
            factors: None,
        }
    }

    /// The tensors that it is stored in, by their number in the source; the largest first.
    pub fn parts(&self) -> Vec<usize> {
        match &self.storage {
            Storage::Plain(index) => vec![*index],
            Storage::Encoded(encoded) => encoded.parts(),
        }
    }

    /// How it is stored, for reports.
    pub fn stored_as(&self) -> String {
        match &self.storage {
            Storage::Plain(_) => self.dtype.name().to_owned(),
            Storage::Encoded(encoded) => encoded.name(),
        }
    }

    /// Weights per row.
    pub fn columns(&self) -> usize {
        self.shape.last().map_or(1, |columns| *columns as usize)
    }

    /// Rows of each of its matrices; a vector is one row.
    pub fn matrix_rows(&self) -> usize {
        self.shape.iter().rev().nth(1).map_or(1, |rows| *rows as usize)
    }

    /// Number of weights.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The scheme, if the weight is stored by one.
    pub fn encoded(&self) -> Option<&dyn Encoded> {
        match &self.storage {
            Storage::Plain(_) => None,
            Storage::Encoded(encoded) => Some(encoded.as_ref()),
        }
    }
}

/// Rounds values to those that a type of single numbers has.
pub(crate) fn round(level: Level, dtype: Dtype, values: &mut [f32]) {
    let mut bytes = [0; 512];
    let size = dtype.info().block_bytes;
    for values in values.chunks_mut(bytes.len() / size) {
        let bytes = &mut bytes[..values.len() * size];
        quantize(level, dtype, values, values.len(), None, bytes);
        dequantize(level, dtype, bytes, values);
    }
}
