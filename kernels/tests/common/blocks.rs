//! Blocks that no quantizer made.

use super::random::Random;
use weightmill_kernels::{Dtype, validate};

/// Blocks in each type's file: more than any vector has lanes, and a tail; each point of the largest grid comes up.
const COUNT: usize = 1037;

/// Blocks of random bits with finite scales.
pub fn random(dtype: Dtype) -> Vec<u8> {
    let mut random = Random::named(dtype.name());
    let mut blocks = Vec::new();
    let mut block = vec![0; dtype.info().block_bytes];
    while blocks.len() < COUNT * block.len() {
        block.fill_with(|| random.bits() as u8);
        if validate(dtype, &block).is_ok() {
            blocks.extend_from_slice(&block);
        }
    }
    blocks
}
