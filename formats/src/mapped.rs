//! The one [`Source`]: maps, metadata, and a validated list of tensors, whatever format they came from.

use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Item, Kind, Result};
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

/// Most bytes of all tensors together. Tensors that share bytes could otherwise add up to more than 64 bits hold.
const MAX_TOTAL: u64 = 1 << 60;

/// Fails if the tensors have more than [`MAX_TOTAL`] bytes.
pub(crate) fn check_total(tensors: &[TensorInfo]) -> Result<()> {
    let mut total = 0u64;
    for tensor in tensors {
        total = total.saturating_add(tensor.bytes);
        if total > MAX_TOTAL {
            let kind = Kind::Limit { what: "the size of all tensors together", found: total, limit: MAX_TOTAL };
            return Err(Error::new(kind).item(Item::Tensor(tensor.name.clone())));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_over_the_same_bytes_do_not_add_up_to_more_than_64_bits() {
        let tensor = |name: &str| TensorInfo {
            name: name.to_owned(),
            shape: vec![1 << 59],
            dtype: weightmill_kernels::Dtype::U8,
            file: 0,
            offset: 0,
            bytes: 1 << 59,
        };
        let tensors = ["a", "b", "c"].map(tensor);
        assert!(check_total(&tensors[..2]).is_ok());
        let error = check_total(&tensors).unwrap_err();
        assert_eq!(error.about(), Some(&Item::Tensor("c".to_owned())));
        assert!(check_total(&vec![tensor("x"); 100]).is_err());
    }
}
