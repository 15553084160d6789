//! The level that every CPU has: lanes are an array, the compiler makes of them what the baseline target allows.

use super::{Simd, TILE};
use core::array::from_fn;
use half::f16;

/// The token of the scalar level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar(());

impl Scalar {
    /// The level needs nothing of the CPU.
    pub const fn new() -> Self {
        Scalar(())
    }
}

impl Default for Scalar {
    fn default() -> Self {
        Self::new()
    }
}

const N: usize = 4;

impl Simd for Scalar {
    const LANES: usize = N;
    const LOOKUP: usize = 32;
    type F32 = [f32; N];
    type I32 = [i32; N];
    // All bits set or none, so that selection is bit arithmetic and not a branch.
    type Mask = [u32; N];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; N] {
        [value; N]
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> [f32; N] {
        *src.first_chunk().expect("a vector's worth of floats")
    }
    #[inline(always)]
    fn store(self, v: [f32; N], dst: &mut [f32]) {
        dst[..N].copy_from_slice(&v);
    }
    #[inline(always)]
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], mut column: impl FnMut(usize, [f32; N])) {
        for i in 0..TILE {
            column(i, from_fn(|lane| row(lane)[i]));
        }
    }

    #[inline(always)]
    fn add(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn mul_add_roughly(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        from_fn(|l| a[l] * b[l] + c[l])
    }
    #[inline(always)]
    fn div(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| a[l] / b[l])
    }
    #[inline(always)]
    fn sqrt(self, v: [f32; N]) -> [f32; N] {
        from_fn(|l| sqrt(v[l]))
    }
    #[inline(always)]
    fn min(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn max(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn abs(self, v: [f32; N]) -> [f32; N] {
        from_fn(|l| v[l].abs())
    }
    #[inline(always)]
    fn neg(self, v: [f32; N]) -> [f32; N] {
        from_fn(|l| -v[l])
    }
    #[inline(always)]
    fn round_even(self, v: [f32; N]) -> [f32; N] {
        // Adding 1.5 * 2^23 leaves no bits for a fraction.
        from_fn(|l| v[l] + 12_582_912.0 - 12_582_912.0)
    }
    #[inline(always)]
    fn reduce_max(self, v: [f32; N]) -> f32 {
        v.into_iter().fold(v[0], |m, x| if x > m { x } else { m })
    }

    #[inline(always)]
    fn lt(self, a: [f32; N], b: [f32; N]) -> [u32; N] {
        from_fn(|l| mask(a[l] < b[l]))
    }
    #[inline(always)]
    fn le(self, a: [f32; N], b: [f32; N]) -> [u32; N] {
        from_fn(|l| mask(a[l] <= b[l]))
    }
    #[inline(always)]
    fn eq(self, a: [f32; N], b: [f32; N]) -> [u32; N] {
        from_fn(|l| mask(a[l] == b[l]))
    }
    #[inline(always)]
    fn select(self, mask: [u32; N], yes: [f32; N], no: [f32; N]) -> [f32; N] {
        from_fn(|l| f32::from_bits(mask[l] & yes[l].to_bits() | !mask[l] & no[l].to_bits()))
    }

    #[inline(always)]
    fn reduce_min(self, v: [f32; N]) -> f32 {
        v.into_iter().fold(v[0], |m, x| if x < m { x } else { m })
    }
    #[inline(always)]
    fn bits(self, mask: [u32; N]) -> u32 {
        mask[0] & 1 | mask[1] & 2 | mask[2] & 4 | mask[3] & 8
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> [u32; N] {
        from_fn(|l| mask(bits & 1 << l != 0))
    }
    #[inline(always)]
    fn any(self, mask: [u32; N]) -> bool {
        mask.into_iter().fold(0, |a, m| a | m) != 0
    }
    #[inline(always)]
    fn all(self, mask: [u32; N]) -> bool {
        mask.into_iter().fold(!0, |a, m| a & m) != 0
    }
    #[inline(always)]
    fn and(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        from_fn(|l| a[l] & b[l])
    }
    #[inline(always)]
    fn or(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        from_fn(|l| a[l] | b[l])
    }
    #[inline(always)]
    fn not(self, a: [u32; N]) -> [u32; N] {
        from_fn(|l| !a[l])
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> [i32; N] {
        [value; N]
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> [i32; N] {
        *src.first_chunk().expect("a vector's worth of integers")
    }
    #[inline(always)]
    fn store_i32(self, v: [i32; N], dst: &mut [i32]) {
        dst[..N].copy_from_slice(&v);
    }
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> [i32; N] {
        let src = &src[..N];
        from_fn(|l| i32::from(src[l]))
    }
    #[inline(always)]
    fn load_i8(self, src: &[u8]) -> [i32; N] {
        let src = &src[..N];
        from_fn(|l| i32::from(src[l] as i8))
    }
    #[inline(always)]
    fn load_u16(self, src: &[u8]) -> [i32; N] {
        let src = &src[..2 * N];
        from_fn(|l| i32::from(u16::from_le_bytes([src[2 * l], src[2 * l + 1]])))
    }
    #[inline(always)]
    fn store_u16(self, v: [i32; N], dst: &mut [u8]) {
        dst[..2 * N].as_chunks_mut().0.iter_mut().zip(v).for_each(|(dst, x)| *dst = (x as u16).to_le_bytes());
    }
    #[inline(always)]
    fn store_u8(self, v: [i32; N], dst: &mut [u8]) {
        dst[..N].copy_from_slice(&v.map(|x| x as u8));
    }
    #[inline(always)]
    fn add_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l].wrapping_add(b[l]))
    }
    #[inline(always)]
    fn sub_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l].wrapping_sub(b[l]))
    }
    #[inline(always)]
    fn min_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l].min(b[l]))
    }
    #[inline(always)]
    fn max_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l].max(b[l]))
    }
    #[inline(always)]
    fn and_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l] & b[l])
    }
    #[inline(always)]
    fn or_i32(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        from_fn(|l| a[l] | b[l])
    }
    #[inline(always)]
    fn shl_i32<const S: u32>(self, v: [i32; N]) -> [i32; N] {
        v.map(|x| x << S)
    }
    #[inline(always)]
    fn shr_i32<const S: u32>(self, v: [i32; N]) -> [i32; N] {
        v.map(|x| (x as u32 >> S) as i32)
    }
    #[inline(always)]
    fn eq_i32(self, a: [i32; N], b: [i32; N]) -> [u32; N] {
        from_fn(|l| mask(a[l] == b[l]))
    }
    #[inline(always)]
    fn gt_i32(self, a: [i32; N], b: [i32; N]) -> [u32; N] {
        from_fn(|l| mask(a[l] > b[l]))
    }
    #[inline(always)]
    fn add_one_i32(self, mask: [u32; N], v: [i32; N]) -> [i32; N] {
        from_fn(|l| v[l].wrapping_sub(mask[l] as i32))
    }
    #[inline(always)]
    fn after_i32(self, before: [i32; N], v: [i32; N]) -> [i32; N] {
        from_fn(|l| if l == 0 { before[N - 1] } else { v[l - 1] })
    }
    #[inline(always)]
    fn select_i32(self, mask: [u32; N], yes: [i32; N], no: [i32; N]) -> [i32; N] {
        from_fn(|l| (mask[l] & yes[l] as u32 | !mask[l] & no[l] as u32) as i32)
    }

    #[inline(always)]
    fn lookup<const M: usize>(self, table: &[f32; M], i: [i32; N]) -> [f32; N] {
        i.map(|i| table[i as usize % M])
    }

    #[inline(always)]
    fn to_f32(self, v: [i32; N]) -> [f32; N] {
        v.map(|x| x as f32)
    }
    #[inline(always)]
    fn trunc_i32(self, v: [f32; N]) -> [i32; N] {
        v.map(trunc)
    }
    #[inline(always)]
    fn to_bits(self, v: [f32; N]) -> [i32; N] {
        v.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn from_bits(self, v: [i32; N]) -> [f32; N] {
        v.map(|x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn to_f16_bits(self, v: [f32; N]) -> [i32; N] {
        v.map(|x| i32::from(f16::from_f32(x).to_bits()))
    }
    #[inline(always)]
    fn from_f16_bits(self, v: [i32; N]) -> [f32; N] {
        v.map(from_f16)
    }
}

#[inline(always)]
fn mask(yes: bool) -> u32 {
    0u32.wrapping_sub(u32::from(yes))
}

/// The value of a half-precision float, without a branch: lanes become vectors.
#[inline(always)]
fn from_f16(bits: i32) -> f32 {
    let magnitude = bits as u32 & 0x7fff;
    // The exponent is moved to the other end, where the one of infinities and NaN is theirs too, and brought back.
    let normal = f32::from_bits((magnitude << 13) + (224 << 23)) * f32::from_bits((127 - 112) << 23);
    // A denormal counts the units of a float whose last place is worth as much.
    let denormal = f32::from_bits((126 << 23) | magnitude) - 0.5;
    let is_normal = mask(magnitude >= 0x0400);
    let value = is_normal & normal.to_bits() | !is_normal & denormal.to_bits();
    f32::from_bits(value | (bits as u32 & 0x8000) << 16)
}

/// `as` gives 0 for NaN and the nearest number for others that do not fit; x86 has one answer for them all.
#[inline(always)]
fn trunc(v: f32) -> i32 {
    if (-2_147_483_648.0..2_147_483_648.0).contains(&v) { v as i32 } else { i32::MIN }
}

#[cfg(feature = "std")]
#[inline(always)]
fn sqrt(v: f32) -> f32 {
    v.sqrt()
}

/// `core` has no square root yet: an integer root of the mantissa, with room for the bit that decides the rounding.
#[cfg(any(not(feature = "std"), test))]
#[cfg_attr(feature = "std", allow(dead_code))]
fn integer_sqrt(v: f32) -> f32 {
    if v == 0.0 || v.is_nan() || v == f32::INFINITY {
        return v;
    }
    if v < 0.0 {
        return f32::NAN;
    }
    // v = mantissa * 2^exponent, made normal, with an even exponent and 50 or 51 bits of mantissa.
    let (scaled, shift) = if v < f32::MIN_POSITIVE { (v * 16_777_216.0, 24) } else { (v, 0) };
    let bits = scaled.to_bits();
    let mut mantissa = u64::from(bits & 0x007f_ffff | 0x0080_0000) << 26;
    let mut exponent = (bits >> 23) as i32 - 127 - 23 - 26 - shift;
    if exponent % 2 != 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    // 25 or 26 bits, the rest squashed into the lowest: the conversion to f32 then rounds to nearest even.
    let root = mantissa.isqrt();
    let sticky = u64::from(root * root != mantissa);
    let power = f32::from_bits(((exponent / 2 - 1 + 127) as u32) << 23);
    (root << 1 | sticky) as f32 * power
}

#[cfg(not(feature = "std"))]
#[inline(always)]
fn sqrt(v: f32) -> f32 {
    integer_sqrt(v)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(feature = "std")]
    fn integer_sqrt_rounds_as_the_cpu_does() {
        let mut bits = 0u32;
        while bits < f32::INFINITY.to_bits() {
            let v = f32::from_bits(bits);
            assert_eq!(super::integer_sqrt(v).to_bits(), v.sqrt().to_bits(), "{v:e}");
            // A prime step: every exponent, mantissas without pattern.
            bits += 997;
        }
        for v in [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, f32::from_bits(1)] {
            assert_eq!(super::integer_sqrt(v).to_bits(), v.sqrt().to_bits(), "{v:e}");
        }
    }
}
