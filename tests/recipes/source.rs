//! A GGUF file that exists only as its table of tensors: planning looks at nothing else.

use std::ops::Range;
use std::path::Path;

use weightmill::model::{Model, ModelTensor, RowOrder, TensorData};
use weightmill::plan::ImportanceSummary;
use weightmill_formats::{Metadata, Source, TensorInfo};

use super::golden::Golden;

pub struct Tensors {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
}

impl Tensors {
    pub fn of(golden: &Golden) -> Self {
        let mut offset = 0;
        let tensors = golden.tensors.iter().map(|tensor| {
            let bytes = tensor.dtype.byte_size(tensor.shape.iter().product()).expect("whole blocks");
            let info = TensorInfo {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                dtype: tensor.dtype,
                file: 0,
                offset,
                bytes,
            };
            offset += bytes;
            info
        });
        Tensors { tensors: tensors.collect(), metadata: golden.metadata.clone() }
    }

    pub fn model(&self, golden: &Golden) -> Model {
        let tensors = self.tensors.iter().enumerate().map(|(index, tensor)| ModelTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype,
            data: TensorData::Stored { index, rows: RowOrder::Stored },
        });
        Model {
            architecture: golden.metadata.string("general.architecture").expect("architecture").to_owned(),
            metadata: self.metadata.clone(),
            tensors: tensors.collect(),
            notes: Vec::new(),
        }
    }

    /// The matrix that `make.py` gives to llama.cpp.
    pub fn importance(&self) -> ImportanceSummary {
        let measured = self.tensors.iter().filter(|tensor| tensor.shape.len() > 1 && tensor.name.starts_with("blk."));
        let values = |tensor: &TensorInfo| {
            let experts = if tensor.shape.len() == 3 { tensor.shape[0] } else { 1 };
            (tensor.columns() * experts) as usize
        };
        ImportanceSummary {
            file_name: "tiny.gguf".to_owned(),
            datasets: vec!["text.txt".to_owned()],
            chunks: Some(10),
            entries: measured.map(|tensor| (tensor.name.clone(), values(tensor))).collect(),
        }
    }
}

impl Source for Tensors {
    fn format(&self) -> &'static str {
        "gguf"
    }

    fn files(&self) -> Vec<&Path> {
        vec![Path::new("in.gguf")]
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn view(&self, tensor: &TensorInfo) -> &[u8] {
        panic!("planning reads no weights, but asked for those of {}", tensor.name)
    }

    fn prefetch(&self, _: &TensorInfo, _: Range<u64>) {}

    fn release(&self, _: &TensorInfo, _: Range<u64>) {}

    fn check_unchanged(&self) -> Result<(), weightmill_formats::Error> {
        Ok(())
    }
}
