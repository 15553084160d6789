//! What the types of 2 and 3 bits share: groups of 8 weights whose magnitudes are points of a [grid](crate::grid), with the
//! signs beside them.

/// Writes 8 weights: magnitudes `values` times `scale`, negative where a bit of `signs` is set.
#[inline(always)]
pub(super) fn decode(values: [i8; 8], signs: u8, scale: f32, out: &mut [f32; 8]) {
    for (i, (x, value)) in out.iter_mut().zip(values).enumerate() {
        let magnitude = scale * f32::from(value);
        *x = if signs >> i & 1 == 1 { -magnitude } else { magnitude };
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
    let bits = bits as u8 & 127;
    bits | (bits.count_ones() as u8 & 1) << 7
}
