//! The one [`Source`]: maps, metadata, and a validated list of tensors, whatever format they came from.

use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::mmap::{Access, Map};
use crate::{Metadata, Source, TensorInfo};

#[derive(Debug)]
pub(crate) struct MappedModel {
    format: &'static str,
    maps: Vec<Map>,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
}

impl MappedModel {
    /// `tensors` lie inside their maps.
    pub(crate) fn new(format: &'static str, maps: Vec<Map>, metadata: Metadata, tensors: Vec<TensorInfo>) -> Self {
        MappedModel { format, maps, metadata, tensors }
    }

    /// A range inside a tensor as a range of its file, cut to the tensor.
    fn in_file(tensor: &TensorInfo, range: Range<u64>) -> Range<u64> {
        tensor.offset + range.start.min(tensor.bytes)..tensor.offset + range.end.min(tensor.bytes)
    }
}

impl Source for MappedModel {
    fn format(&self) -> &'static str {
        self.format
    }

    fn files(&self) -> Vec<&Path> {
        self.maps.iter().map(Map::path).collect()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn view(&self, tensor: &TensorInfo) -> &[u8] {
        &self.maps[tensor.file].bytes()[tensor.offset as usize..][..tensor.bytes as usize]
    }

    fn prefetch(&self, tensor: &TensorInfo, range: Range<u64>) {
        self.maps[tensor.file].advise(Access::WillNeed, Self::in_file(tensor, range));
    }

    fn release(&self, tensor: &TensorInfo, range: Range<u64>) {
        self.maps[tensor.file].release(Self::in_file(tensor, range));
    }

    fn check_unchanged(&self) -> Result<()> {
        self.maps.iter().try_for_each(Map::check_unchanged)
    }
}
