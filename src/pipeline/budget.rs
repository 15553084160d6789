//! How many rows a chunk may have, so that the buffers of all threads together stay under a limit.

use super::Error;
use super::gather::{MAX_BLOCK, TILE_ROWS};
use super::work::Work;
use crate::scheme::ScratchSize;

/// Weights of a chunk, if the limit allows: decoded they fit a second-level cache, and what is written for them is
/// enough for one system call.
pub(super) const CHUNK_WEIGHTS: usize = 128 * 1024;

/// Bytes of a chunk that is copied unchanged, straight from the map.
const COPY_BYTES: usize = 4 << 20;

/// Weights of a chunk whose bytes go to many places of the output, so that the bytes for each are more.
const SCATTERED_WEIGHTS: usize = 1024 * 1024;

/// Most bytes that the buffers hold for one weight: decoded to f32, and encoded in the widest type there is.
const BYTES_PER_WEIGHT: u64 = 4 + 4;

/// Buffers of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Buffers {
    /// Decoded weights.
    pub weights: usize,
    /// Weights decoded on the way to being transposed.
    pub tile: usize,
    /// Weights decoded on the way to standing between others.
    pub strip: usize,
    /// Encoded bytes.
    pub bytes: usize,
    /// Codes and numbers.
    pub scratch: ScratchSize,
}

impl Buffers {
    /// Bytes of memory.
    pub fn size(self) -> u64 {
        (self.weights + self.tile + self.strip) as u64 * size_of::<f32>() as u64
            + self.bytes as u64
            + self.scratch.bytes()
    }
}

/// Sets the rows per chunk of every tensor and returns the buffers that a thread then needs.
///
/// # Errors
/// If rows are too long for the limit: names the tensor that needs the most.
pub(super) fn divide(works: &mut [Work<'_>], threads: usize, limit: u64) -> Result<Buffers, Error> {
    let share = limit / threads as u64;
    let mut buffers = Buffers::default();
    let mut too_long: Option<(&Work<'_>, u64)> = None;
    for work in works {
        let converted = || work.encodings.iter().filter(|encoding| !work.is_unchanged(encoding));
        if converted().next().is_none() && work.coded.is_empty() {
            let row_bytes =
                usize::try_from(work.source_bytes() / (work.rows as u64).max(1)).unwrap_or(usize::MAX).max(1);
            work.chunk_rows = (COPY_BYTES / row_bytes).clamp(1, work.rows_per_expert.max(1));
            continue;
        }
        let tile = |rows: usize| if work.is_transposed() { TILE_ROWS * (rows + 2 * MAX_BLOCK) } else { 0 };
        let fixed = (tile(0) * size_of::<f32>()) as u64;
        let beside = (tile(1) - tile(0) + work.strip()) * size_of::<f32>();
        let scratch = |rows: usize| {
            work.coded.iter().map(|coded| coded.coder.scratch(rows)).fold(ScratchSize::default(), ScratchSize::max)
        };
        let row = (work.columns as u64).saturating_mul(BYTES_PER_WEIGHT) + beside as u64 + scratch(1).bytes();
        let fitting = usize::try_from(share.saturating_sub(fixed) / row.max(1)).unwrap_or(usize::MAX);
        let unit = work.row_unit();
        let fitting = if fitting >= work.rows { work.rows } else { fitting / unit * unit };
        if fitting == 0 {
            let needed = fixed.saturating_add(row.saturating_mul(unit as u64));
            if too_long.is_none_or(|(_, most)| most < needed) {
                too_long = Some((work, needed));
            }
            continue;
        }
        let scattered = work.coded.iter().any(|coded| coded.coder.layout.is_scattered());
        let weights = if scattered { SCATTERED_WEIGHTS } else { CHUNK_WEIGHTS };
        let wanted = (weights / work.columns.max(1)).clamp(1, work.rows_per_expert.max(1)).next_multiple_of(unit);
        let rows = wanted.min(fitting).min(work.rows_per_expert.max(1));
        let row_bytes = converted().flat_map(|encoding| [encoding.to, encoding.via]).map(|dtype| work.row_bytes(dtype));
        buffers.weights = buffers.weights.max(work.columns * rows);
        buffers.tile = buffers.tile.max(tile(rows));
        buffers.strip = buffers.strip.max(work.strip() * rows);
        buffers.scratch = buffers.scratch.max(scratch(rows));
        buffers.bytes = buffers.bytes.max(row_bytes.max().unwrap_or(0) * rows);
        work.chunk_rows = rows;
    }
    match too_long {
        None => Ok(buffers),
        Some((work, needed)) => Err(Error::RowTooLong {
            tensor: work.tensor.name.clone(),
            needed: needed.saturating_mul(threads as u64),
            limit,
            threads,
        }),
    }
}
