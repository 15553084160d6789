//! What there is to do: every tensor once, with all the places its rows go to.

use std::ops::Range;

use weightmill_formats::{Importance, Source};
use weightmill_kernels::Dtype;

use super::Error;
use crate::model::{Model, ModelTensor, RowOrder, TensorData};
use crate::plan::{Plan, PlannedTensor};

/// One tensor of the model and every output it goes to.
pub(super) struct Work<'a> {
    /// The tensor of the model.
    pub tensor: &'a ModelTensor,
    /// Type in the source; `F32` for computed tensors.
    pub from: Dtype,
    /// Order of the rows in the source.
    pub order: RowOrder,
    /// Rows over all experts.
    pub rows: usize,
    /// Weights per row.
    pub columns: usize,
    /// Rows that share one slice of the importance: all, but for 3-D tensors.
    pub rows_per_expert: usize,
    /// Rows per chunk at most.
    pub chunk_rows: usize,
    /// Encodings that are wanted, each made once; those that go through the same type follow each other.
    pub encodings: Vec<Encoding<'a>>,
}

/// A type that a tensor is wanted in, and where the bytes go.
pub(super) struct Encoding<'a> {
    /// Type that the weights are rounded to before anything else.
    pub via: Dtype,
    /// Type to write.
    pub to: Dtype,
    /// Importance: one weight per column and expert.
    pub importance: Option<&'a [f32]>,
    /// Outputs that take these bytes.
    pub places: Vec<Place>,
}

/// Where a tensor begins in an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index among the files of all outputs.
    pub file: usize,
    /// Offset of the tensor's first byte.
    pub offset: u64,
}

impl<'a> Work<'a> {
    /// Every tensor that some output wants, in the order in which it lies in the source.
    pub fn list(
        plan: &Plan,
        source: &dyn Source,
        model: &'a Model,
        importance: &'a Importance,
    ) -> Result<Vec<Self>, Error> {
        let mut works: Vec<Option<Work<'a>>> = model.tensors.iter().map(|_| None).collect();
        let mut first_file = 0;
        for output in &plan.outputs {
            for planned in &output.tensors {
                let slot = &mut works[planned.index];
                if slot.is_none() {
                    *slot = Some(Work::new(&model.tensors[planned.index], source, planned.from)?);
                }
                let work = slot.as_mut().expect("set above");
                let place = Place { file: first_file + planned.part, offset: planned.range.start };
                work.add(planned, place, importance)?;
            }
            first_file += output.parts.len();
        }
        let mut works: Vec<Work<'a>> = works.into_iter().flatten().collect();
        works.sort_by_key(|work| match &work.tensor.data {
            TensorData::Computed(_) => (0, 0),
            TensorData::Stored { index, .. } => {
                let info = &source.tensors()[*index];
                (info.file, info.offset)
            }
        });
        for work in &mut works {
            work.encodings.sort_by_key(|encoding| encoding.via);
        }
        Ok(works)
    }

    fn new(tensor: &'a ModelTensor, source: &dyn Source, from: Dtype) -> Result<Self, Error> {
        let order = match &tensor.data {
            TensorData::Stored { rows, .. } => *rows,
            TensorData::Computed(_) => RowOrder::Stored,
        };
        let too_large = || Error::Address { tensor: tensor.name.clone() };
        let length = |n: u64| usize::try_from(n).map_err(|_| too_large());
        // Reordering a vector moves its elements.
        let columns = if tensor.shape.len() < 2 && order != RowOrder::Stored {
            1
        } else {
            length(tensor.shape.last().copied().unwrap_or(1))?
        };
        let weights = length(tensor.shape.iter().product())?;
        let rows = weights / columns.max(1);
        let rows_per_expert = match tensor.shape.as_slice() {
            [.., rows, _] if tensor.shape.len() > 2 => length(*rows)?,
            _ => rows,
        };
        if let TensorData::Stored { index, .. } = &tensor.data {
            let info = &source.tensors()[*index];
            assert_eq!((info.dtype, info.weights()), (from, weights as u64), "{}: plan and source differ", tensor.name);
        }
        Ok(Work { tensor, from, order, rows, columns, rows_per_expert, chunk_rows: 0, encodings: Vec::new() })
    }

    fn add(&mut self, planned: &PlannedTensor, place: Place, importance: &'a Importance) -> Result<(), Error> {
        let PlannedTensor { via, to, .. } = *planned;
        let importance =
            planned.importance.as_ref().map(|entry| importance.get(entry).expect("an entry of the matrix"));
        let expected = self.columns * (self.rows / self.rows_per_expert.max(1));
        assert!(
            importance.is_none_or(|values| values.len() == expected),
            "{}: importance of another size",
            planned.name
        );
        let same = |encoding: &&mut Encoding<'_>| {
            (encoding.via, encoding.to) == (via, to)
                && encoding.importance.map(<[f32]>::as_ptr) == importance.map(<[f32]>::as_ptr)
        };
        if let Some(encoding) = self.encodings.iter_mut().find(same) {
            encoding.places.push(place);
            return Ok(());
        }
        let encoding = Encoding { via, to, importance, places: vec![place] };
        if !self.is_unchanged(&encoding) {
            let decodes = |dtype: Dtype| dtype.info().dequantize.is_some();
            let encodes = |dtype: Dtype| dtype.info().quantize.is_some();
            let rounds = self.rounds(via);
            if !decodes(self.from) || !encodes(to) || rounds && !(encodes(via) && decodes(via)) {
                return Err(Error::NoCodec { tensor: self.tensor.name.clone(), from: self.from, to });
            }
        }
        self.encodings.push(encoding);
        Ok(())
    }

    /// True if the stored bytes are the wanted ones.
    pub fn is_unchanged(&self, encoding: &Encoding<'_>) -> bool {
        matches!(self.tensor.data, TensorData::Stored { .. })
            && self.order == RowOrder::Stored
            && self.from == encoding.via
            && self.from == encoding.to
    }

    /// True if going through `via` changes weights that are already decoded.
    pub fn rounds(&self, via: Dtype) -> bool {
        via != self.from && via != Dtype::F32
    }

    /// Bytes of one row in this type.
    pub fn row_bytes(&self, dtype: Dtype) -> usize {
        let info = dtype.info();
        self.columns / info.block_len * info.block_bytes
    }

    /// Bytes in the source.
    pub fn source_bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes(self.from) as u64
    }

    /// Rows that are reordered among themselves: those of one head, or each row alone.
    pub fn reordered_rows(&self) -> usize {
        match self.order {
            RowOrder::Stored => 1,
            RowOrder::InterleaveHalves { heads } => self.rows / heads as usize,
        }
    }

    /// The row of the source that row `row` of the output comes from.
    pub fn source_row(&self, row: usize) -> usize {
        match self.order {
            RowOrder::Stored => row,
            RowOrder::InterleaveHalves { .. } => {
                let per_head = self.reordered_rows();
                let (head, within) = (row / per_head, row % per_head);
                head * per_head + (within % 2) * (per_head / 2) + within / 2
            }
        }
    }

    /// Runs of rows of at most [`Work::chunk_rows`], none across the boundary between two experts.
    pub fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.rows).step_by(self.rows_per_expert.max(1)).flat_map(move |first| {
            let end = first + self.rows_per_expert;
            (first..end).step_by(self.chunk_rows).map(move |row| row..end.min(row + self.chunk_rows))
        })
    }
}
