//! What the types of 2 and 3 bits share: groups of 8 weights whose magnitudes are points of a [grid](crate::grid), with the
//! signs beside them.

use crate::simd::Simd;

/// Writes the weights of two groups: magnitudes `values` times `scale`, negative where a bit of `signs` is set.
#[inline(always)]
pub(super) fn decode<S: Simd>(s: S, values: [[i8; 8]; 2], signs: [u8; 2], scale: S::F32, out: &mut [f32; 16]) {
    let values = values.map(|values| values.map(|value| value as u8));
    let signs = u32::from(u16::from_le_bytes(signs));
    let vectors = values.as_flattened().chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES));
    for (i, (values, out)) in vectors.enumerate() {
        let magnitude = s.mul(scale, s.to_f32(s.load_i8(values)));
        s.store(s.select(s.mask(signs >> (i * S::LANES)), s.neg(magnitude), magnitude), out);
    }
}

/// The values of two points of four.
#[inline(always)]
pub(super) fn pair(first: &[i8; 4], second: &[i8; 4]) -> [i8; 8] {
    let mut values = [0; 8];
    values[..4].copy_from_slice(first);
    values[4..].copy_from_slice(second);
    values
}

/// Eight signs of which the lowest seven of `bits` are stored: an even number of them is set.
#[inline(always)]
pub(super) fn even(bits: u32) -> u8 {
    EVEN[bits as usize & 127]
}

/// The signs with the eighth one.
static EVEN: [u8; 128] = {
    let mut all = [0; 128];
    let mut bits = 0;
    while bits < 128 {
        all[bits] = bits as u8 | (bits.count_ones() as u8 & 1) << 7;
        bits += 1;
    }
    all
};
