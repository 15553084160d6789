//! The NEON level of 64-bit Arm: 4 lanes.
//!
//! The compiler never fuses a multiplication and an addition on its own. Half precision is converted by two instructions
//! that every 64-bit Arm CPU has, but for which the standard library has no stable name; hence the assembly.

use super::{Kernel, Simd, TILE};
use core::arch::{aarch64::*, asm};

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The token, if the CPU has what it stands for.
    pub fn detect() -> Option<Self> {
        // This name must match that of `run`.
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// Runs the kernel with the level's instructions switched on.
#[target_feature(enable = "neon")]
pub(super) fn run<K: Kernel>(token: Neon, kernel: K) -> K::Out {
    kernel.run(token)
}

const N: usize = 4;

macro_rules! operations {
    ($(fn $name:ident $(<const $n:ident: $of:ty>)? ($($arg:ident: $ty:ty),*) -> $out:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name $(<const $n: $of>)? (self, $($arg: $ty),*) -> $out {
            // SAFETY: the token proves that the CPU has NEON; the instructions touch registers only, but for loads and
            // stores, which go through references to arrays of the vector's length.
            unsafe { $body }
        }
    )*};
}

impl Simd for Neon {
    const LANES: usize = N;
    const LOOKUP: usize = 32;
    type F32 = float32x4_t;
    type I32 = int32x4_t;
    type Mask = uint32x4_t;

    #[inline(always)]
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], mut column: impl FnMut(usize, float32x4_t)) {
        for at in (0..TILE).step_by(N) {
            let mut tile = [self.splat(0.0); N];
            for (lane, v) in tile.iter_mut().enumerate() {
                *v = self.load(&row(lane)[at..]);
            }
            for (i, v) in transpose_tile(self, tile).into_iter().enumerate() {
                column(at + i, v);
            }
        }
    }

    #[inline(always)]
    fn lookup<const M: usize>(self, table: &[f32; M], i: int32x4_t) -> float32x4_t {
        // SAFETY: the token proves that the CPU has NEON; registers only.
        unsafe {
            // Tables are looked up by byte: the four bytes of a lane's entry lie one after the other.
            let first = vandq_u32(vreinterpretq_u32_s32(vshlq_n_s32::<2>(i)), vdupq_n_u32(4 * (M as u32 - 1)));
            let bytes = vaddq_u32(vmulq_n_u32(first, 0x0101_0101), vdupq_n_u32(0x0302_0100));
            let bytes = vreinterpretq_u8_u32(bytes);
            let quarter = |at: usize| vreinterpretq_u8_f32(self.load(&table[at..]));
            let eight = || uint8x16x2_t(quarter(0), quarter(4));
            let sixteen = |at: usize| uint8x16x4_t(quarter(at), quarter(at + 4), quarter(at + 8), quarter(at + 12));
            vreinterpretq_f32_u8(match M {
                8 => vqtbl2q_u8(eight(), bytes),
                16 => vqtbl4q_u8(sixteen(0), bytes),
                // An index outside gives zero in the first instruction and leaves what is there in the second.
                32 => vqtbx4q_u8(vqtbl4q_u8(sixteen(0), bytes), sixteen(16), vsubq_u8(bytes, vdupq_n_u8(64))),
                _ => panic!("tables have 8, 16 or 32 entries"),
            })
        }
    }

    operations! {
        fn splat(value: f32) -> float32x4_t { vdupq_n_f32(value) }
        fn load(src: &[f32]) -> float32x4_t {
            let src: &[f32; N] = src.first_chunk().expect("a vector's worth of floats");
            vld1q_f32(src.as_ptr())
        }
        fn store(v: float32x4_t, dst: &mut [f32]) -> () {
            let dst: &mut [f32; N] = dst.first_chunk_mut().expect("room for a vector");
            vst1q_f32(dst.as_mut_ptr(), v)
        }
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t { vsubq_f32(a, b) }
        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
        fn mul_add_roughly(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t { vdivq_f32(a, b) }
        fn sqrt(v: float32x4_t) -> float32x4_t { vsqrtq_f32(v) }
        // The CPU's own minimum and maximum have other answers for NaN and for zeros of unlike sign.
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcltq_f32(a, b), a, b) }
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcgtq_f32(a, b), a, b) }
        fn abs(v: float32x4_t) -> float32x4_t { vabsq_f32(v) }
        fn neg(v: float32x4_t) -> float32x4_t { vnegq_f32(v) }
        fn round_even(v: float32x4_t) -> float32x4_t { vrndnq_f32(v) }
        fn reduce_max(v: float32x4_t) -> f32 { vmaxvq_f32(v) }
        fn reduce_min(v: float32x4_t) -> f32 { vminvq_f32(v) }
        fn lt(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vcltq_f32(a, b) }
        fn le(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vcleq_f32(a, b) }
        fn eq(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vceqq_f32(a, b) }
        fn select(mask: uint32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t { vbslq_f32(mask, yes, no) }

        fn bits(mask: uint32x4_t) -> u32 {
            let of_lanes: [u32; N] = [1, 2, 4, 8];
            vaddvq_u32(vandq_u32(mask, vld1q_u32(of_lanes.as_ptr())))
        }
        fn mask(bits: u32) -> uint32x4_t {
            let of_lanes: [u32; N] = [1, 2, 4, 8];
            vtstq_u32(vdupq_n_u32(bits), vld1q_u32(of_lanes.as_ptr()))
        }
        fn any(mask: uint32x4_t) -> bool { vmaxvq_u32(mask) != 0 }
        fn all(mask: uint32x4_t) -> bool { vminvq_u32(mask) != 0 }
        fn and(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t { vandq_u32(a, b) }
        fn or(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t { vorrq_u32(a, b) }
        fn not(a: uint32x4_t) -> uint32x4_t { vmvnq_u32(a) }

        fn splat_i32(value: i32) -> int32x4_t { vdupq_n_s32(value) }
        fn load_i32(src: &[i32]) -> int32x4_t {
            let src: &[i32; N] = src.first_chunk().expect("a vector's worth of integers");
            vld1q_s32(src.as_ptr())
        }
        fn store_i32(v: int32x4_t, dst: &mut [i32]) -> () {
            let dst: &mut [i32; N] = dst.first_chunk_mut().expect("room for a vector");
            vst1q_s32(dst.as_mut_ptr(), v)
        }
        fn load_u8(src: &[u8]) -> int32x4_t {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            let bytes = vcreate_u8(u32::from_le_bytes(*src).into());
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
        }
        fn load_i8(src: &[u8]) -> int32x4_t {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            let bytes = vcreate_s8(u32::from_le_bytes(*src).into());
            vmovl_s16(vget_low_s16(vmovl_s8(bytes)))
        }
        fn load_u16(src: &[u8]) -> int32x4_t {
            let src: &[u8; 2 * N] = src.first_chunk().expect("a vector's worth of words");
            vreinterpretq_s32_u32(vmovl_u16(vcreate_u16(u64::from_le_bytes(*src))))
        }
        fn store_u16(v: int32x4_t, dst: &mut [u8]) -> () {
            let dst: &mut [u8; 2 * N] = dst.first_chunk_mut().expect("room for a vector's words");
            let words = vmovn_u32(vreinterpretq_u32_s32(v));
            *dst = vget_lane_u64::<0>(vreinterpret_u64_u16(words)).to_le_bytes();
        }
        fn store_u8(v: int32x4_t, dst: &mut [u8]) -> () {
            let dst: &mut [u8; N] = dst.first_chunk_mut().expect("room for a vector's bytes");
            let words = vmovn_u32(vreinterpretq_u32_s32(v));
            let bytes = vmovn_u16(vcombine_u16(words, words));
            *dst = vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)).to_le_bytes();
        }
        fn add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vaddq_s32(a, b) }
        fn sub_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vsubq_s32(a, b) }
        fn min_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vminq_s32(a, b) }
        fn max_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vmaxq_s32(a, b) }
        fn and_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vandq_s32(a, b) }
        fn or_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vorrq_s32(a, b) }
        // Counts in a register become those of the instruction; a negative one shifts to the right.
        fn shl_i32<const S: u32>(v: int32x4_t) -> int32x4_t { vshlq_s32(v, vdupq_n_s32(S as i32)) }
        fn shr_i32<const S: u32>(v: int32x4_t) -> int32x4_t {
            vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), vdupq_n_s32(-(S as i32))))
        }
        fn eq_i32(a: int32x4_t, b: int32x4_t) -> uint32x4_t { vceqq_s32(a, b) }
        fn gt_i32(a: int32x4_t, b: int32x4_t) -> uint32x4_t { vcgtq_s32(a, b) }
        fn add_one_i32(mask: uint32x4_t, v: int32x4_t) -> int32x4_t { vsubq_s32(v, vreinterpretq_s32_u32(mask)) }
        fn after_i32(before: int32x4_t, v: int32x4_t) -> int32x4_t { vextq_s32::<3>(before, v) }
        fn select_i32(mask: uint32x4_t, yes: int32x4_t, no: int32x4_t) -> int32x4_t { vbslq_s32(mask, yes, no) }

        fn to_f32(v: int32x4_t) -> float32x4_t { vcvtq_f32_s32(v) }
        fn trunc_i32(v: float32x4_t) -> int32x4_t {
            // The CPU's conversion ends at the limits, and gives 0 for NaN.
            let fits = vcltq_f32(v, vdupq_n_f32(2_147_483_648.0));
            vbslq_s32(fits, vcvtq_s32_f32(v), vdupq_n_s32(i32::MIN))
        }
        fn to_bits(v: float32x4_t) -> int32x4_t { vreinterpretq_s32_f32(v) }
        fn from_bits(v: int32x4_t) -> float32x4_t { vreinterpretq_f32_s32(v) }
        fn to_f16_bits(v: float32x4_t) -> int32x4_t {
            let bits: uint16x4_t;
            asm!("fcvtn {0:v}.4h, {1:v}.4s", out(vreg) bits, in(vreg) v, options(pure, nomem, nostack, preserves_flags));
            vreinterpretq_s32_u32(vmovl_u16(bits))
        }
        fn from_f16_bits(v: int32x4_t) -> float32x4_t {
            let value: float32x4_t;
            let bits = vmovn_u32(vreinterpretq_u32_s32(v));
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) value, in(vreg) bits, options(pure, nomem, nostack, preserves_flags));
            value
        }
    }
}

/// The transpose of 4 rows of 4.
#[inline(always)]
fn transpose_tile(_proof: Neon, [a, b, c, d]: [float32x4_t; N]) -> [float32x4_t; N] {
    // SAFETY: the token proves that the CPU has NEON; registers only.
    unsafe {
        // Pairs of rows change their odd and even columns, then pairs of columns change places.
        let (ab_even, ab_odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
        let (cd_even, cd_odd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
        let low = |x, y| vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
        let high = |x, y| vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
        [low(ab_even, cd_even), low(ab_odd, cd_odd), high(ab_even, cd_even), high(ab_odd, cd_odd)]
    }
}
