//! Blocks whose importance is so large that no scale of the type can hold what comes out: their columns count the same.
//!
//! Codes of safetensors formats need no repair: within one of their groups only the ratios of importance count, so that
//! whatever would overflow is scaled before (`work`).
//!
//! llama-quantize ends there ("found nan at block 48"), so there are no bytes of it to keep to. What is done depends on the
//! row alone, not on how rows are divided into chunks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;
use weightmill_kernels::{Dtype, Level, quantize, validate};

/// Blocks of a tensor that were encoded with neutral importance, because they could not be with their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The model's name of the tensor.
    pub tensor: String,
    /// The type written.
    #[serde(rename = "type")]
    pub dtype: &'static str,
    /// How many.
    pub blocks: u64,
}

/// The repairs of a run, noted by all threads.
pub(super) struct Repairs {
    /// None is made.
    strict: bool,
    blocks: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Repairs {
    pub fn new(strict: bool) -> Self {
        Repairs { strict, blocks: Mutex::default() }
    }

    /// Encodes rows anew in which blocks are not valid, with an importance of 1 in these blocks. `weights` are whole rows
    /// as long as `importance`, `bytes` their encoding.
    ///
    /// # Errors
    /// The number of a block that is not valid even so: its weights are too large.
    pub fn repair(
        &self,
        tensor: &str,
        level: Level,
        dtype: Dtype,
        weights: &[f32],
        importance: &[f32],
        bytes: &mut [u8],
    ) -> Result<(), usize> {
        let (columns, block) = (importance.len(), dtype.info());
        let per_row = columns / block.block_len;
        let mut repaired = 0;
        // Of one row, and only here: not worth a place among the buffers.
        let mut eased = importance.to_vec();
        let rows = weights.chunks_exact(columns).zip(bytes.chunks_exact_mut(per_row * block.block_bytes));
        for (row, (weights, bytes)) in rows.enumerate() {
            eased.copy_from_slice(importance);
            while let Err(at) = validate(dtype, bytes) {
                let columns_of_block = &mut eased[at * block.block_len..(at + 1) * block.block_len];
                if self.strict || columns_of_block.iter().all(|&importance| importance == 1.0) {
                    return Err(row * per_row + at);
                }
                columns_of_block.fill(1.0);
                repaired += 1;
                quantize(level, dtype, weights, columns, Some(&eased), bytes);
            }
        }
        let mut blocks = self.blocks.lock().expect("no panic while locked");
        *blocks.entry((tensor.to_owned(), dtype.name())).or_default() += repaired;
        Ok(())
    }

    /// All of them, by tensor.
    pub fn list(&self) -> Vec<Repair> {
        let blocks = self.blocks.lock().expect("no panic while locked");
        let repairs = blocks.iter();
        repairs.map(|((tensor, dtype), &blocks)| Repair { tensor: tensor.clone(), dtype, blocks }).collect()
    }
}
