//! Several importance matrices as one.

use super::{DEFAULT_CHUNK_SIZE, Entry, Imatrix};

/// Adds up importance matrices of one model, as `llama-imatrix --in-file A --in-file B` does.
///
/// Sums and counts of each tensor add up, in f32 and in the order given; texts are listed one after the other.
#[derive(Debug, Default)]
pub struct Merger {
    sum: Option<Imatrix>,
    /// Files so far.
    files: usize,
    /// Tokens per chunk of files that do not say.
    chunk_size: Option<u32>,
}

/// Why two matrices are not of one model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {entry:?} has {found} values with {found_counts} counts, in the files before {expected} with {expected_counts}: made from another model"
)]
#[allow(missing_docs)]
pub struct MergeError {
    pub entry: String,
    pub found: usize,
    pub found_counts: usize,
    pub expected: usize,
    pub expected_counts: usize,
}

impl Merger {
    /// Nothing yet. Chunks of files that count chunks, not tokens, are taken to have `chunk_size` tokens, by default
    /// [`DEFAULT_CHUNK_SIZE`].
    pub fn new(chunk_size: Option<u32>) -> Self {
        Merger { sum: None, files: 0, chunk_size }
    }

    /// Adds a matrix. One alone stays as it is, unit of its counts included, unless a chunk size was given.
    ///
    /// # Errors
    /// If a tensor has another number of values than before. Nothing has been added then.
    pub fn add(&mut self, matrix: Imatrix) -> Result<(), MergeError> {
        let matrix = match self.chunk_size {
            Some(chunk_size) => matrix.in_tokens(chunk_size),
            None => matrix,
        };
        let Some(sum) = &mut self.sum else {
            self.sum = Some(matrix);
            self.files = 1;
            return Ok(());
        };
        for (name, entry) in &matrix.entries {
            if let Some(before) = sum.entries.get(name) {
                check(name, entry, before)?;
            }
        }
        // Two of the older form have the same unit, but chunks of one need not be as long as those of the other.
        let assumed = sum.chunk_size.or(matrix.chunk_size).unwrap_or(DEFAULT_CHUNK_SIZE);
        if sum.chunk_size != matrix.chunk_size {
            *sum = std::mem::take(sum).in_tokens(assumed);
        }
        let matrix = if sum.chunk_size.is_some() { matrix.in_tokens(assumed) } else { matrix };
        let chunks = chunks(sum).saturating_add(chunks(&matrix));
        // Chunks of another length do not add up; tokens do.
        let same_unit = sum.chunk_size == matrix.chunk_size;
        for (name, entry) in matrix.entries {
            match sum.entries.get_mut(&name) {
                Some(before) => add(before, &entry),
                None => drop(sum.entries.insert(name, entry)),
            }
        }
        sum.datasets.extend(matrix.datasets);
        sum.others.extend(matrix.others);
        sum.chunks = if same_unit { chunks } else { sum.counted_chunks() };
        self.files += 1;
        Ok(())
    }

    /// Number of files that were added.
    pub fn files(&self) -> usize {
        self.files
    }

    /// The sum; `None` if nothing was added.
    pub fn finish(self) -> Option<Imatrix> {
        self.sum
    }
}

/// The number of chunks that the file declares, or what the counts say.
fn chunks(matrix: &Imatrix) -> u32 {
    if matrix.chunks > 0 { matrix.chunks } else { matrix.counted_chunks() }
}

fn check(name: &str, entry: &Entry, before: &Entry) -> Result<(), MergeError> {
    let (found, expected) = (entry.counts.len(), before.counts.len());
    // One count for all matrices of a stack, from the older form, holds for each of them.
    let counts_fit = found == expected || found == 1 || expected == 1;
    if entry.sums.len() == before.sums.len() && counts_fit {
        return Ok(());
    }
    Err(MergeError {
        entry: name.to_owned(),
        found: entry.sums.len(),
        found_counts: found,
        expected: before.sums.len(),
        expected_counts: expected,
    })
}

fn add(to: &mut Entry, entry: &Entry) {
    to.sums.iter_mut().zip(&entry.sums).for_each(|(to, sum)| *to += sum);
    let counts = to.counts.len().max(entry.counts.len());
    let count_at = |counts: &[u64], at: usize| if counts.len() == 1 { counts[0] } else { counts[at] };
    to.counts = (0..counts).map(|at| count_at(&to.counts, at).saturating_add(count_at(&entry.counts, at))).collect();
}
