//! The AVX-512 level: 16 lanes, the foundation with the BW, VL and DQ parts, and BMI1 and POPCNT for masks.
//!
//! Fused multiply-add comes with the foundation; it serves guesses only, and the compiler never fuses on its own.

use super::{Kernel, Simd, TILE};
use core::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, BW, VL and DQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if the CPU has what it stands for.
    pub fn detect() -> Option<Self> {
        // These names must match those of `run`.
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Avx512(()))
    }
}

/// Runs the kernel with the level's instructions switched on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi1,popcnt")]
pub(super) fn run<K: Kernel>(token: Avx512, kernel: K) -> K::Out {
    kernel.run(token)
}

const N: usize = 16;

macro_rules! operations {
    ($(fn $name:ident $(<const $n:ident: u32>)? ($($arg:ident: $ty:ty),*) -> $out:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name $(<const $n: u32>)? (self, $($arg: $ty),*) -> $out {
            // SAFETY: the token proves that the CPU has the parts of AVX-512 that it names; the instructions touch
            // registers only, but for loads and stores, which go through references to arrays of the vector's length.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx512 {
    const LANES: usize = N;
    const LOOKUP: usize = 32;
    type F32 = __m512;
    type I32 = __m512i;
    type Mask = __mmask16;

    #[inline(always)]
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], mut column: impl FnMut(usize, __m512)) {
        let mut tile = [self.splat(0.0); N];
        for (lane, v) in tile.iter_mut().enumerate() {
            *v = self.load(row(lane));
        }
        for (i, v) in transpose_tile(self, tile).into_iter().enumerate() {
            column(i, v);
        }
    }

    #[inline(always)]
    fn lookup<const M: usize>(self, table: &[f32; M], i: __m512i) -> __m512 {
        match M {
            8 => {
                let table: &[f32; 8] = table.first_chunk().expect("8 entries");
                // SAFETY: the token proves that the CPU has AVX-512 F and DQ; the load goes through a reference.
                unsafe { _mm512_permutexvar_ps(i, _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()))) }
            }
            // SAFETY: the token proves that the CPU has AVX-512 F; registers only.
            16 => unsafe { _mm512_permutexvar_ps(i, self.load(table)) },
            // SAFETY: as above.
            32 => unsafe { _mm512_permutex2var_ps(self.load(table), i, self.load(&table[N..])) },
            _ => panic!("tables have 8, 16 or 32 entries"),
        }
    }
    #[inline(always)]
    fn bits(self, mask: __mmask16) -> u32 {
        mask.into()
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> __mmask16 {
        bits as u16
    }
    #[inline(always)]
    fn any(self, mask: __mmask16) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn all(self, mask: __mmask16) -> bool {
        mask == !0
    }
    #[inline(always)]
    fn and(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }
    #[inline(always)]
    fn or(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn not(self, a: __mmask16) -> __mmask16 {
        !a
    }

    operations! {
        fn splat(value: f32) -> __m512 { _mm512_set1_ps(value) }
        fn load(src: &[f32]) -> __m512 {
            let src: &[f32; N] = src.first_chunk().expect("a vector's worth of floats");
            _mm512_loadu_ps(src.as_ptr())
        }
        fn store(v: __m512, dst: &mut [f32]) -> () {
            let dst: &mut [f32; N] = dst.first_chunk_mut().expect("room for a vector");
            _mm512_storeu_ps(dst.as_mut_ptr(), v)
        }
        fn prefetch(src: &[f32]) -> () {
            const LINE: usize = 16;
            for line in src.as_chunks::<LINE>().0 {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
        }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn mul_add_roughly(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn sqrt(v: __m512) -> __m512 { _mm512_sqrt_ps(v) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn abs(v: __m512) -> __m512 { _mm512_abs_ps(v) }
        fn neg(v: __m512) -> __m512 { _mm512_xor_ps(_mm512_set1_ps(-0.0), v) }
        fn round_even(v: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v)
        }
        fn reduce_max(v: __m512) -> f32 { _mm512_reduce_max_ps(v) }
        fn reduce_min(v: __m512) -> f32 { _mm512_reduce_min_ps(v) }
        fn lt(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
        fn le(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) }
        fn eq(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
        fn and_lt(mask: __mmask16, a: __m512, b: __m512) -> __mmask16 {
            _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(mask, a, b)
        }
        fn and_ne(mask: __mmask16, a: __m512, b: __m512) -> __mmask16 {
            _mm512_mask_cmp_ps_mask::<_CMP_NEQ_UQ>(mask, a, b)
        }
        fn select(mask: __mmask16, yes: __m512, no: __m512) -> __m512 { _mm512_mask_blend_ps(mask, no, yes) }

        fn splat_i32(value: i32) -> __m512i { _mm512_set1_epi32(value) }
        fn load_i32(src: &[i32]) -> __m512i {
            let src: &[i32; N] = src.first_chunk().expect("a vector's worth of integers");
            _mm512_loadu_si512(src.as_ptr().cast())
        }
        fn store_i32(v: __m512i, dst: &mut [i32]) -> () {
            let dst: &mut [i32; N] = dst.first_chunk_mut().expect("room for a vector");
            _mm512_storeu_si512(dst.as_mut_ptr().cast(), v)
        }
        fn load_u8(src: &[u8]) -> __m512i {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            _mm512_cvtepu8_epi32(_mm_loadu_si128(src.as_ptr().cast()))
        }
        fn load_i8(src: &[u8]) -> __m512i {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            _mm512_cvtepi8_epi32(_mm_loadu_si128(src.as_ptr().cast()))
        }
        fn load_u16(src: &[u8]) -> __m512i {
            let src: &[u8; 2 * N] = src.first_chunk().expect("a vector's worth of words");
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast()))
        }
        fn store_u16(v: __m512i, dst: &mut [u8]) -> () {
            let dst: &mut [u8; 2 * N] = dst.first_chunk_mut().expect("room for a vector's words");
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(v))
        }
        fn store_u8(v: __m512i, dst: &mut [u8]) -> () {
            let dst: &mut [u8; N] = dst.first_chunk_mut().expect("room for a vector's bytes");
            _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v))
        }
        fn add_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn sub_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi32(a, b) }
        fn min_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_min_epi32(a, b) }
        fn max_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_max_epi32(a, b) }
        fn and_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn shl_i32<const S: u32>(v: __m512i) -> __m512i { _mm512_slli_epi32::<S>(v) }
        fn shr_i32<const S: u32>(v: __m512i) -> __m512i { _mm512_srli_epi32::<S>(v) }
        fn eq_i32(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpeq_epi32_mask(a, b) }
        fn gt_i32(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpgt_epi32_mask(a, b) }
        fn add_one_i32(mask: __mmask16, v: __m512i) -> __m512i {
            _mm512_mask_add_epi32(v, mask, v, _mm512_set1_epi32(1))
        }
        fn after_i32(before: __m512i, v: __m512i) -> __m512i { _mm512_alignr_epi32::<15>(v, before) }
        fn select_i32(mask: __mmask16, yes: __m512i, no: __m512i) -> __m512i {
            _mm512_mask_blend_epi32(mask, no, yes)
        }

        fn to_f32(v: __m512i) -> __m512 { _mm512_cvtepi32_ps(v) }
        fn trunc_i32(v: __m512) -> __m512i { _mm512_cvttps_epi32(v) }
        fn to_bits(v: __m512) -> __m512i { _mm512_castps_si512(v) }
        fn from_bits(v: __m512i) -> __m512 { _mm512_castsi512_ps(v) }
        fn to_f16_bits(v: __m512) -> __m512i {
            _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v))
        }
        fn from_f16_bits(v: __m512i) -> __m512 { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)) }
    }
}

/// The transpose of 16 rows of 16.
#[inline(always)]
fn transpose_tile(_proof: Avx512, mut r: [__m512; N]) -> [__m512; N] {
    // SAFETY: the token proves that the CPU has AVX-512 F; registers only.
    unsafe {
        // Within each quarter of the registers pairs of rows are interleaved, then fours ...
        for i in [0, 2, 4, 6, 8, 10, 12, 14] {
            (r[i], r[i + 1]) = (_mm512_unpacklo_ps(r[i], r[i + 1]), _mm512_unpackhi_ps(r[i], r[i + 1]));
        }
        let mut q = r;
        for i in [0, 4, 8, 12] {
            q[i] = _mm512_shuffle_ps::<0x44>(r[i], r[i + 2]);
            q[i + 1] = _mm512_shuffle_ps::<0xee>(r[i], r[i + 2]);
            q[i + 2] = _mm512_shuffle_ps::<0x44>(r[i + 1], r[i + 3]);
            q[i + 3] = _mm512_shuffle_ps::<0xee>(r[i + 1], r[i + 3]);
        }
        // ... so that q[4 * g + c] holds the columns c, c + 4, c + 8, c + 12 of the rows 4 * g to 4 * g + 3. What is left
        // is a transpose of 4 by 4 quarters.
        for i in [0, 1, 2, 3, 8, 9, 10, 11] {
            r[i] = _mm512_shuffle_f32x4::<0x88>(q[i], q[i + 4]);
            r[i + 4] = _mm512_shuffle_f32x4::<0xdd>(q[i], q[i + 4]);
        }
        for i in 0..8 {
            q[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 8]);
            q[i + 8] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 8]);
        }
        q
    }
}
