//! A source that lies in memory: tensors by name, type, shape and bytes.

use std::ops::Range;
use std::path::Path;

use weightmill_formats::{Metadata, Result, Source, TensorInfo};
use weightmill_kernels::Dtype;

/// Tensors of a pretended safetensors file.
#[derive(Clone, Default)]
pub struct Memory {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    bytes: Vec<u8>,
}

impl Memory {
    /// Adds a tensor.
    pub fn with(mut self, name: &str, dtype: Dtype, shape: &[u64], bytes: &[u8]) -> Self {
        let weights = shape.iter().product::<u64>();
        assert_eq!(dtype.byte_size(weights), Some(bytes.len() as u64), "the bytes of {name}");
        self.tensors.push(TensorInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype,
            file: 0,
            offset: self.bytes.len() as u64,
            bytes: bytes.len() as u64,
        });
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds a tensor whose bytes are all the same.
    pub fn filled(self, name: &str, dtype: Dtype, shape: &[u64], byte: u8) -> Self {
        let bytes = dtype.byte_size(shape.iter().product()).expect("whole blocks");
        self.with(name, dtype, shape, &vec![byte; bytes as usize])
    }

    /// The source with these tensors instead of its own.
    pub fn changed(&self, change: impl FnOnce(Vec<(TensorInfo, Vec<u8>)>) -> Vec<(TensorInfo, Vec<u8>)>) -> Self {
        let own = self.tensors.iter().map(|tensor| (tensor.clone(), self.view(tensor).to_vec())).collect();
        let mut source = Memory::default();
        for (tensor, bytes) in change(own) {
            source = source.with(&tensor.name, tensor.dtype, &tensor.shape, &bytes);
        }
        source
    }
}

impl Source for Memory {
    fn format(&self) -> &'static str {
        "safetensors"
    }

    fn files(&self) -> Vec<&Path> {
        vec![Path::new("model.safetensors")]
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn view(&self, tensor: &TensorInfo) -> &[u8] {
        &self.bytes[tensor.offset as usize..][..tensor.bytes as usize]
    }

    fn prefetch(&self, _: &TensorInfo, _: Range<u64>) {}

    fn release(&self, _: &TensorInfo, _: Range<u64>) {}

    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }
}
