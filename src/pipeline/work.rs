//! What there is to do: every tensor once, with all the places its rows go to.

use std::borrow::Cow;
use std::ops::Range;

use weightmill_formats::Importance;
use weightmill_kernels::Dtype;

use super::Error;
use crate::model::{Map, ModelTensor, Piece, TensorData};
use crate::plan::{Coded, Input, Plan, PlannedTensor};
use crate::publish::Published;
use crate::scheme::{Coder, Coding};
use crate::weights::{Weight, Weights};

/// One tensor of the model and every output it goes to.
pub(super) struct Work<'a> {
    /// The tensor of the model.
    pub tensor: &'a ModelTensor,
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
    /// Codings that are wanted.
    pub coded: Vec<CodedWeight<'a>>,
    /// Rows before each piece; empty for computed tensors, zeros where all pieces have all rows.
    starts: Vec<usize>,
    /// The type in which the pieces lie in the source as they are wanted, if they do.
    stored: Option<Dtype>,
    /// The type that decoded values are of already: that of plain weights, or that which holds the codes exactly.
    decoded: Option<Dtype>,
    /// Scales are folded into it: what is decoded is rounded no more before it is encoded.
    folded: bool,
    /// Bytes in the source.
    source_bytes: u64,
    /// File and offset of the first piece.
    place: Option<(usize, u64)>,
}

/// A type that a tensor is wanted in, and where the bytes go.
pub(super) struct Encoding<'a> {
    /// Type that the weights are rounded to before anything else.
    pub via: Dtype,
    /// Type to write.
    pub to: Dtype,
    /// The stored codes become blocks of that type without being decoded.
    pub lossless: bool,
    /// Importance: one weight per column and expert.
    pub importance: Option<&'a [f32]>,
    /// Outputs that take these bytes.
    pub places: Vec<Place>,
}

/// A coding that a weight is wanted in, and where the tensors that it becomes go.
pub(super) struct CodedWeight<'a> {
    /// Number of the output.
    output: usize,
    /// What was decided.
    pub coding: Coding,
    /// What codes it.
    pub coder: Coder,
    /// Importance: one weight per column, and of a stack per matrix.
    pub importance: Option<Cow<'a, [f32]>>,
    /// Number of the weights that have a divisor of scales in common, if there is one.
    pub divisor: Option<usize>,
    /// Where each of the tensors begins.
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
    pub fn list(plan: &Plan, input: &Input<'a>, importance: &'a Importance) -> Result<Vec<Self>, Error> {
        let weights = input.weights;
        let of_model: Vec<&ModelTensor> = input.model.tensors.iter().collect();
        let published: Vec<&ModelTensor> = input.published.into_iter().flat_map(Published::all).collect();
        let mut works: Vec<Option<Work<'a>>> = of_model.iter().chain(&published).map(|_| None).collect();
        let (mut first_file, mut first_set) = (0, 0);
        for (number, output) in plan.outputs.iter().enumerate() {
            let (tensors, first) = match output.target.is_folder() {
                false => (&of_model, 0),
                true => (&published, of_model.len()),
            };
            let mut sets = 0;
            for planned in &output.tensors {
                let slot = &mut works[first + planned.index];
                if slot.is_none() {
                    *slot = Some(Work::new(tensors[planned.index], weights)?);
                }
                let work = slot.as_mut().expect("set above");
                let place = Place { file: first_file + planned.part, offset: planned.range.start };
                match &planned.coded {
                    None => work.add(planned, place, weights, importance)?,
                    Some(coded) => {
                        work.add_coded((number, coded), planned, place, (first_set, importance));
                        sets = sets.max(coded.set + 1);
                    }
                }
            }
            first_file += output.parts.len();
            first_set += sets;
        }
        let mut works: Vec<Work<'a>> = works.into_iter().flatten().collect();
        works.sort_by_key(|work| work.place);
        for work in &mut works {
            work.encodings.sort_by_key(|encoding| encoding.via);
        }
        Ok(works)
    }

    /// The tensor with nothing to do yet.
    pub fn new(tensor: &'a ModelTensor, weights: &Weights) -> Result<Self, Error> {
        let too_large = || Error::Address { tensor: tensor.name.clone() };
        let length = |n: u64| usize::try_from(n).map_err(|_| too_large());
        let pieces = tensor.data.pieces();
        let columns = match (pieces.first(), tensor.shape.as_slice()) {
            // A view of a vector may have its elements as rows.
            (Some(piece), [_] | []) => length(piece.view.columns.length)?,
            (_, shape) => length(shape.last().copied().unwrap_or(1))?,
        };
        let elements = tensor.shape.iter().try_fold(1u64, |product, length| product.checked_mul(*length));
        let rows = length(elements.ok_or_else(too_large)?)? / columns.max(1);
        let rows_per_expert = match tensor.shape.as_slice() {
            [.., rows, _] if tensor.shape.len() > 2 => length(*rows)?,
            _ => rows,
        };
        let mut starts = Vec::with_capacity(pieces.len());
        let woven = matches!(tensor.data, TensorData::Woven(..));
        let share = if woven { pieces.len() } else { 1 };
        let mut next = 0;
        let mut source_bytes = 0;
        for Piece { weight, view, .. } in pieces {
            let weight = &weights.list()[*weight];
            let fits = (columns as u64).is_multiple_of(view.columns.length.max(1))
                && (!woven || view.columns.length * share as u64 == columns as u64);
            assert!(
                view.is_empty() || fits,
                "{}: rows of {} elements in rows of {columns}",
                tensor.name,
                view.columns.length
            );
            assert!(
                view.is_empty() || view.last().is_some_and(|last| last < weight.elements()),
                "{}: a view beyond {}",
                tensor.name,
                weight.name
            );
            starts.push(if woven { 0 } else { next });
            next += length(view.len())? / (columns / share).max(1);
            let share = u128::from(weights.stored_bytes(weight)) * u128::from(view.len());
            source_bytes += (share / u128::from(weight.elements().max(1))) as u64;
        }
        assert!(
            pieces.is_empty() || next == rows * share,
            "{}: {next} rows in pieces, {rows} in the shape",
            tensor.name
        );
        let common = |type_of: fn(&Piece, &Weight) -> Option<Dtype>| {
            let mut types = pieces.iter().map(|piece| type_of(piece, &weights.list()[piece.weight]));
            let first = types.next()??;
            types.all(|dtype| dtype == Some(first)).then_some(first)
        };
        let place = pieces.first().map(|piece| {
            let info = weights.main_tensor(&weights.list()[piece.weight]);
            (info.file, info.offset)
        });
        Ok(Work {
            tensor,
            rows,
            columns,
            rows_per_expert,
            chunk_rows: 0,
            encodings: Vec::new(),
            coded: Vec::new(),
            starts,
            stored: common(stored_contiguously).filter(|_| !woven),
            decoded: common(|piece, weight| match (piece.map, weight.encoded()) {
                (Map::Same, None) => Some(weight.dtype),
                (Map::Same, Some(encoded)) => encoded.lossless(),
                _ => None,
            }),
            folded: pieces.iter().any(|piece| weights.list()[piece.weight].factors.is_some()),
            source_bytes,
            place,
        })
    }

    fn add(
        &mut self,
        planned: &PlannedTensor,
        place: Place,
        weights: &Weights,
        importance: &'a Importance,
    ) -> Result<(), Error> {
        let PlannedTensor { via, to, lossless, .. } = *planned;
        let importance =
            planned.importance.as_ref().map(|entry| importance.get(entry).expect("an entry of the matrix"));
        let expected = self.columns * (self.rows / self.rows_per_expert.max(1));
        assert!(
            importance.is_none_or(|values| values.len() == expected),
            "{}: importance of another size",
            planned.name
        );
        let same = |encoding: &&mut Encoding<'_>| {
            (encoding.via, encoding.to, encoding.lossless) == (via, to, lossless)
                && encoding.importance.map(<[f32]>::as_ptr) == importance.map(<[f32]>::as_ptr)
        };
        if let Some(encoding) = self.encodings.iter_mut().find(same) {
            encoding.places.push(place);
            return Ok(());
        }
        let encoding = Encoding { via, to, lossless, importance, places: vec![place] };
        if !lossless && !self.is_unchanged(&encoding) {
            let decodes = |dtype: Dtype| dtype.info().dequantize.is_some();
            let encodes = |dtype: Dtype| dtype.info().quantize.is_some();
            let rounds = self.rounds(via);
            if !encodes(to) || rounds && !(encodes(via) && decodes(via)) {
                return Err(Error::NoCodec { tensor: self.tensor.name.clone(), from: via, to });
            }
            for piece in self.tensor.data.pieces() {
                let weight = &weights.list()[piece.weight];
                let block = weight.dtype.info().block_len as u64;
                let whole_blocks = piece.view.columns.stride != 1
                    || [piece.view.base, piece.view.columns.length].iter().all(|n| n.is_multiple_of(block));
                if weight.encoded().is_none() && !(decodes(weight.dtype) && whole_blocks) {
                    return Err(Error::NoCodec { tensor: self.tensor.name.clone(), from: weight.dtype, to });
                }
            }
        }
        self.encodings.push(encoding);
        Ok(())
    }

    /// Adds one of the tensors that a coded weight becomes.
    fn add_coded(
        &mut self,
        (output, coded): (usize, &Coded),
        planned: &PlannedTensor,
        place: Place,
        (first_set, importance): (usize, &'a Importance),
    ) {
        let number = match self.coded.iter().position(|other| other.output == output) {
            Some(number) => number,
            None => {
                let coder = coded.coding.coder([self.rows, self.columns]);
                let entry =
                    planned.importance.as_ref().map(|entry| importance.get(entry).expect("an entry of the matrix"));
                let matrices = self.rows / self.rows_per_expert.max(1);
                let range = coded.expert * self.columns..(coded.expert + matrices) * self.columns;
                let group = coder.layout.group();
                let importance = entry.map(|all| in_range(&all[range], group));
                let divisor = coded.coding.scheme.has_divisor().then_some(first_set + coded.set);
                let places = vec![place; coder.layout.tensors.len()];
                self.coded.push(CodedWeight { output, coding: coded.coding, coder, importance, divisor, places });
                self.coded.len() - 1
            }
        };
        self.coded[number].places[coded.tensor] = place;
    }

    /// The numbers of the weights that have divisors of scales in common with this one.
    pub fn divisors(&self) -> impl Iterator<Item = usize> {
        self.coded.iter().filter_map(|coded| coded.divisor)
    }

    /// True if all of it has to be seen before any of it is converted.
    pub fn is_read_twice(&self) -> bool {
        self.divisors().next().is_some()
    }

    /// Rows of chunks are multiples of this, but for the last ones; chunks of 1 may lie in one piece and expert only.
    pub fn row_unit(&self) -> usize {
        self.coded.iter().map(|coded| coded.coder.layout.row_unit()).max().unwrap_or(1)
    }

    /// Parts of a chunk that lie in one piece each.
    pub fn within_pieces(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut next = rows.start;
        std::iter::from_fn(move || {
            let piece = self.starts.get(self.starts.partition_point(|start| *start <= next)).copied();
            let part = next..rows.end.min(piece.unwrap_or(rows.end));
            next = part.end;
            (!part.is_empty()).then_some(part)
        })
    }

    /// The type of a plain piece that this program cannot decode.
    pub fn undecodable(&self, weights: &Weights) -> Option<Dtype> {
        let mut plain = self.tensor.data.pieces().iter().map(|piece| &weights.list()[piece.weight]);
        let found = plain.find(|weight| weight.encoded().is_none() && weight.dtype.info().dequantize.is_none());
        found.map(|weight| weight.dtype)
    }

    /// True if the stored bytes are the wanted ones.
    pub fn is_unchanged(&self, encoding: &Encoding<'_>) -> bool {
        self.stored.is_some_and(|stored| stored == encoding.via && stored == encoding.to)
    }

    /// True if going through `via` changes weights that are already decoded.
    pub fn rounds(&self, via: Dtype) -> bool {
        via != Dtype::F32 && self.decoded != Some(via) && !self.folded
    }

    /// Bytes of one row in this type.
    pub fn row_bytes(&self, dtype: Dtype) -> usize {
        let info = dtype.info();
        self.columns / info.block_len * info.block_bytes
    }

    /// Number of weights.
    pub fn len(&self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Bytes in the source.
    pub fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// The share of these rows in [`Self::source_bytes`]: of all rows together exactly all of it.
    pub fn source_bytes_of(&self, rows: &Range<usize>) -> u64 {
        let before = |row: usize| (u128::from(self.source_bytes) * row as u128 / (self.rows as u128).max(1)) as u64;
        before(rows.end) - before(rows.start)
    }

    /// Rows of a piece's view that make up one row of the tensor, or the piece's part of it.
    pub fn view_rows(&self, piece: &Piece) -> u64 {
        match self.tensor.data {
            TensorData::Woven(..) => 1,
            _ => self.columns as u64 / piece.view.columns.length.max(1),
        }
    }

    /// Pieces that are beside each other in every row, with the columns that each has at a time.
    pub fn woven(&self) -> Option<(&'a [Piece], usize)> {
        match &self.tensor.data {
            TensorData::Woven(pieces, run) => Some((pieces, *run as usize)),
            _ => None,
        }
    }

    /// Weights that are decoded apart before they are put beside others, of one row.
    pub fn strip(&self) -> usize {
        self.woven().map_or(0, |(pieces, _)| self.columns / pieces.len().max(1))
    }

    /// Where a column of a row comes from: the piece, the first of its rows, and the column there.
    pub fn origin(&self, row: usize, column: usize) -> Option<(&'a Piece, usize, usize)> {
        let Some((pieces, run)) = self.woven() else {
            let (piece, start) = self.piece_at(row)?;
            return Some((piece, start, column));
        };
        let (turn, within) = (column / run, column % run);
        Some((&pieces[turn % pieces.len()], 0, turn / pieces.len() * run + within))
    }

    /// True if some piece has its columns where the stored weight has rows.
    pub fn is_transposed(&self) -> bool {
        self.tensor.data.pieces().iter().any(|piece| piece.view.columns.stride != 1)
    }

    /// The piece that row `row` lies in, and the first of its rows.
    pub fn piece_at(&self, row: usize) -> Option<(&'a Piece, usize)> {
        let number = self.starts.partition_point(|start| *start <= row).checked_sub(1)?;
        Some((&self.tensor.data.pieces()[number], self.starts[number]))
    }

    /// Runs of rows of at most [`Work::chunk_rows`], none across the boundary between two experts or, unless the weight is
    /// coded, two pieces.
    pub fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let chunk = (next < self.rows).then(|| self.chunk_at(next))?;
            next = chunk.end;
            Some(chunk)
        })
    }

    /// The run of rows, of at most [`Work::chunk_rows`], that begins with row `first`.
    pub fn chunk_at(&self, first: usize) -> Range<usize> {
        let expert = (first / self.rows_per_expert + 1) * self.rows_per_expert;
        if !self.coded.is_empty() {
            return first..expert.min(first.saturating_add(self.chunk_rows));
        }
        let piece = self.starts.get(self.starts.partition_point(|start| *start <= first)).copied();
        first..expert.min(piece.unwrap_or(self.rows)).min(first.saturating_add(self.chunk_rows))
    }
}

/// Importance with which no error overflows or vanishes: within a group only ratios count, so that of a group where it is very
/// large or small can be multiplied by a power of two.
pub(super) fn in_range(importance: &[f32], group: usize) -> Cow<'_, [f32]> {
    const MOST: f32 = 1e18;
    let greatest = |group: &[f32]| group.iter().fold(0.0, |most: f32, own| most.max(*own));
    let fits = |group: &[f32]| matches!(greatest(group), most if most == 0.0 || (1.0 / MOST..MOST).contains(&most));
    if importance.chunks(group).all(fits) {
        return Cow::Borrowed(importance);
    }
    let mut importance = importance.to_vec();
    for group in importance.chunks_mut(group).filter(|group| !fits(group)) {
        // Of one that is smaller than all normal numbers the exponent is 0, and this the greatest power there is.
        let exponent = (greatest(group).to_bits() >> 23).clamp(1, 253);
        let factor = f32::from_bits((254 - exponent) << 23);
        group.iter_mut().for_each(|own| *own *= factor);
    }
    Cow::Owned(importance)
}

/// The type of a piece whose stored bytes are those of its rows.
fn stored_contiguously(piece: &Piece, weight: &Weight) -> Option<Dtype> {
    let view = &piece.view;
    let aligned = view.base.is_multiple_of(weight.dtype.info().block_len as u64);
    let kept = weight.encoded().is_none() && weight.factors.is_none() && piece.map == Map::Same;
    (kept && aligned && view.is_contiguous()).then_some(weight.dtype)
}
