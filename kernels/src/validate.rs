//! Are the scales of quantized blocks finite?

use crate::{Dtype, Scales};

/// Finds the first block that scales its weights by an infinity or by NaN, as `ggml_validate_row_data` does.
///
/// `blocks` are whole blocks; the error is the index of a block.
pub fn validate(dtype: Dtype, blocks: &[u8]) -> Result<(), usize> {
    let info = dtype.info();
    assert!(blocks.len().is_multiple_of(info.block_bytes), "{dtype}: not whole blocks");
    let blocks = blocks.chunks_exact(info.block_bytes);
    match info.scales {
        Scales::None => Ok(()),
        Scales::F64 => first(blocks, |block| !f64::from_le_bytes(array(block, 0)).is_finite()),
        Scales::F32 => first(blocks, |block| !f32::from_le_bytes(array(block, 0)).is_finite()),
        Scales::BF16 => first(blocks, |block| u16::from_le_bytes(array(block, 0)) & 0x7f80 == 0x7f80),
        Scales::F16(offsets) => {
            first(blocks, |block| offsets.iter().any(|&at| not_finite_f16(u16::from_le_bytes(array(block, at)))))
        }
        Scales::E8M0 => first(blocks, |block| block[0] == 255),
        Scales::IQ1_M => first(blocks, |block| {
            let nibble = |word: usize| u16::from(block[info.block_bytes - 7 + 2 * word] >> 4) << (4 * word);
            not_finite_f16(nibble(0) | nibble(1) | nibble(2) | nibble(3))
        }),
    }
}

fn first<'a>(mut blocks: impl Iterator<Item = &'a [u8]>, bad: impl Fn(&[u8]) -> bool) -> Result<(), usize> {
    blocks.position(bad).map_or(Ok(()), Err)
}

fn not_finite_f16(bits: u16) -> bool {
    bits & 0x7c00 == 0x7c00
}

fn array<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block[at..at + N].try_into().expect("N bytes")
}
