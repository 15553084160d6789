//! A model file that exists only as its table of tensors: planning looks at nothing else.

use std::ops::Range;
use std::path::Path;

use weightmill::model::{Model, ModelTensor, TensorData};
use weightmill::options::Request;
use weightmill::plan::{ImportanceSummary, Input, Plan, PlanError, plan};
use weightmill::weights::Weights;
use weightmill_formats::{Metadata, Source, TensorInfo};

use crate::golden::Golden;

#[derive(Clone)]
pub struct Tensors {
    pub format: &'static str,
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

impl Tensors {
    pub fn of(golden: &Golden) -> Self {
        let mut offset = 0;
        let tensors = golden.tensors.iter().enumerate().map(|(index, tensor)| {
            let file = golden.split.map_or(0, |count| index / count);
            let bytes = tensor.dtype.byte_size(tensor.shape.iter().product()).expect("whole blocks");
            let info = TensorInfo {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                dtype: tensor.dtype,
                file,
                offset,
                bytes,
            };
            offset += bytes;
            info
        });
        let tensors: Vec<TensorInfo> = tensors.collect();
        let mut metadata = golden.metadata.clone();
        if golden.split.is_some() {
            metadata.set("split.no", 0u16);
            metadata.set("split.count", tensors.last().map_or(0, |last| last.file as u16 + 1));
            metadata.set("split.tensors.count", tensors.len() as i32);
        }
        Tensors { format: "gguf", metadata, tensors }
    }

    pub fn plan(&self, importance: Option<&ImportanceSummary>, request: &Request) -> Result<Plan, PlanError> {
        let tensors = self.tensors.iter().enumerate().map(|(index, tensor)| ModelTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype,
            data: TensorData::stored(index, &tensor.shape),
        });
        let model = Model {
            architecture: self.metadata.string("general.architecture").expect("architecture").to_owned(),
            own_names: false,
            metadata: self.metadata.clone(),
            tensors: tensors.collect(),
            notes: Vec::new(),
        };
        let weights = Weights::plain(Box::new(self.clone()));
        plan(
            &Input { path: Path::new("in.gguf"), weights: &weights, model: &model, published: None, importance },
            request,
        )
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
            ..ImportanceSummary::default()
        }
    }
}

impl Source for Tensors {
    fn format(&self) -> &'static str {
        self.format
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
