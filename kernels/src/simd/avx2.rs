//! The AVX2 level: 8 lanes, with F16C for half precision, FMA for guesses, BMI1 and POPCNT for masks: what came with AVX2.
//!
//! The compiler never fuses a multiplication and an addition on its own.

use super::{Kernel, Simd, TILE};
use core::arch::x86_64::*;

/// Proof that the CPU has AVX2, F16C and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if the CPU has what it stands for.
    pub fn detect() -> Option<Self> {
        // These names must match those of `run`.
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Avx2(()))
    }
}

/// Runs the kernel with the level's instructions switched on.
#[target_feature(enable = "avx2,f16c,fma,bmi1,popcnt")]
pub(super) fn run<K: Kernel>(token: Avx2, kernel: K) -> K::Out {
    kernel.run(token)
}

const N: usize = 8;

macro_rules! operations {
    ($(fn $name:ident $(<const $n:ident: u32>)? ($($arg:ident: $ty:ty),*) -> $out:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name $(<const $n: u32>)? (self, $($arg: $ty),*) -> $out {
            // SAFETY: the token proves that the CPU has AVX2, F16C and FMA; the instructions touch registers only, but for
            // loads and stores, which go through references to arrays of the vector's length.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx2 {
    const LANES: usize = N;
    const LOOKUP: usize = 16;
    type F32 = __m256;
    type I32 = __m256i;
    type Mask = __m256;

    #[inline(always)]
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], mut column: impl FnMut(usize, __m256)) {
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
    fn lookup<const M: usize>(self, table: &[f32; M], i: __m256i) -> __m256 {
        let part = |at: usize| {
            let part = self.load(&table[at..]);
            // SAFETY: the token proves that the CPU has AVX2; registers only.
            unsafe { _mm256_permutevar8x32_ps(part, i) }
        };
        // Registers are looked up by three bits. The others, moved to the sign, choose between registers.
        let sixteen = |at: usize| self.select(self.from_bits(self.shl_i32::<28>(i)), part(at + 8), part(at));
        match M {
            8 => part(0),
            16 => sixteen(0),
            32 => self.select(self.from_bits(self.shl_i32::<27>(i)), sixteen(16), sixteen(0)),
            _ => panic!("tables have 8, 16 or 32 entries"),
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: __m256) -> f32 {
        let mut lanes = [0.0; N];
        self.store(v, &mut lanes);
        lanes.into_iter().fold(lanes[0], |m, x| if x > m { x } else { m })
    }

    operations! {
        fn splat(value: f32) -> __m256 { _mm256_set1_ps(value) }
        fn load(src: &[f32]) -> __m256 {
            let src: &[f32; N] = src.first_chunk().expect("a vector's worth of floats");
            _mm256_loadu_ps(src.as_ptr())
        }
        fn store(v: __m256, dst: &mut [f32]) -> () {
            let dst: &mut [f32; N] = dst.first_chunk_mut().expect("room for a vector");
            _mm256_storeu_ps(dst.as_mut_ptr(), v)
        }
        fn prefetch(src: &[f32]) -> () {
            const LINE: usize = 16;
            for line in src.as_chunks::<LINE>().0 {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
        }
        fn add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn sub(a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn mul_add_roughly(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn div(a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn sqrt(v: __m256) -> __m256 { _mm256_sqrt_ps(v) }
        fn min(a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
        fn max(a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn abs(v: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) }
        fn neg(v: __m256) -> __m256 { _mm256_xor_ps(_mm256_set1_ps(-0.0), v) }
        fn round_even(v: __m256) -> __m256 {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v)
        }
        fn lt(a: __m256, b: __m256) -> __m256 { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
        fn le(a: __m256, b: __m256) -> __m256 { _mm256_cmp_ps::<_CMP_LE_OQ>(a, b) }
        fn eq(a: __m256, b: __m256) -> __m256 { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) }
        fn select(mask: __m256, yes: __m256, no: __m256) -> __m256 { _mm256_blendv_ps(no, yes, mask) }

        fn reduce_min(v: __m256) -> f32 {
            let v = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_min_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_min_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
        fn bits(mask: __m256) -> u32 { _mm256_movemask_ps(mask) as u32 }
        fn mask(bits: u32) -> __m256 {
            let of_lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let bits = _mm256_and_si256(_mm256_set1_epi32(bits as i32), of_lanes);
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, of_lanes))
        }
        fn any(mask: __m256) -> bool { _mm256_movemask_ps(mask) != 0 }
        fn all(mask: __m256) -> bool { _mm256_movemask_ps(mask) == 0xff }
        fn and(a: __m256, b: __m256) -> __m256 { _mm256_and_ps(a, b) }
        fn or(a: __m256, b: __m256) -> __m256 { _mm256_or_ps(a, b) }
        fn not(a: __m256) -> __m256 { _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))) }

        fn splat_i32(value: i32) -> __m256i { _mm256_set1_epi32(value) }
        fn load_i32(src: &[i32]) -> __m256i {
            let src: &[i32; N] = src.first_chunk().expect("a vector's worth of integers");
            _mm256_loadu_si256(src.as_ptr().cast())
        }
        fn store_i32(v: __m256i, dst: &mut [i32]) -> () {
            let dst: &mut [i32; N] = dst.first_chunk_mut().expect("room for a vector");
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), v)
        }
        fn load_u8(src: &[u8]) -> __m256i {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*src)))
        }
        fn load_i8(src: &[u8]) -> __m256i {
            let src: &[u8; N] = src.first_chunk().expect("a vector's worth of bytes");
            _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*src)))
        }
        fn load_u16(src: &[u8]) -> __m256i {
            let src: &[u8; 2 * N] = src.first_chunk().expect("a vector's worth of words");
            _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast()))
        }
        fn store_u16(v: __m256i, dst: &mut [u8]) -> () {
            let dst: &mut [u8; 2 * N] = dst.first_chunk_mut().expect("room for a vector's words");
            let v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
            let words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storeu_si128(dst.as_mut_ptr().cast(), words)
        }
        fn store_u8(v: __m256i, dst: &mut [u8]) -> () {
            let dst: &mut [u8; N] = dst.first_chunk_mut().expect("room for a vector's bytes");
            // Within each half the lowest bytes come together, then the halves.
            let lowest = _mm256_set1_epi32(0x0c08_0400);
            let bytes = _mm256_shuffle_epi8(v, lowest);
            let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            *dst = _mm_cvtsi128_si64(_mm_unpacklo_epi32(low, high)).to_le_bytes();
        }
        fn add_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn sub_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi32(a, b) }
        fn min_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_min_epi32(a, b) }
        fn max_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_max_epi32(a, b) }
        fn and_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
        fn or_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
        fn shl_i32<const S: u32>(v: __m256i) -> __m256i { _mm256_sll_epi32(v, _mm_cvtsi32_si128(S as i32)) }
        fn shr_i32<const S: u32>(v: __m256i) -> __m256i { _mm256_srl_epi32(v, _mm_cvtsi32_si128(S as i32)) }
        fn eq_i32(a: __m256i, b: __m256i) -> __m256 { _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)) }
        fn gt_i32(a: __m256i, b: __m256i) -> __m256 { _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)) }
        fn add_one_i32(mask: __m256, v: __m256i) -> __m256i { _mm256_sub_epi32(v, _mm256_castps_si256(mask)) }
        fn after_i32(before: __m256i, v: __m256i) -> __m256i {
            // The upper half of the one and the lower half of the other stand before the halves of `v`.
            let halves = _mm256_permute2x128_si256::<0x21>(before, v);
            _mm256_alignr_epi8::<12>(v, halves)
        }
        fn select_i32(mask: __m256, yes: __m256i, no: __m256i) -> __m256i {
            _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask))
        }

        fn to_f32(v: __m256i) -> __m256 { _mm256_cvtepi32_ps(v) }
        fn trunc_i32(v: __m256) -> __m256i { _mm256_cvttps_epi32(v) }
        fn to_bits(v: __m256) -> __m256i { _mm256_castps_si256(v) }
        fn from_bits(v: __m256i) -> __m256 { _mm256_castsi256_ps(v) }
        fn to_f16_bits(v: __m256) -> __m256i { _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
        fn from_f16_bits(v: __m256i) -> __m256 {
            let (low, high) = (_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm256_cvtph_ps(_mm_packus_epi32(low, high))
        }
    }
}

/// The transpose of 8 rows of 8.
#[inline(always)]
fn transpose_tile(_proof: Avx2, mut r: [__m256; N]) -> [__m256; N] {
    // SAFETY: the token proves that the CPU has AVX; registers only.
    unsafe {
        // Within each half of the registers pairs of rows are interleaved, then fours; then halves change places.
        for i in [0, 2, 4, 6] {
            (r[i], r[i + 1]) = (_mm256_unpacklo_ps(r[i], r[i + 1]), _mm256_unpackhi_ps(r[i], r[i + 1]));
        }
        let mut q = r;
        for i in [0, 4] {
            q[i] = _mm256_shuffle_ps::<0x44>(r[i], r[i + 2]);
            q[i + 1] = _mm256_shuffle_ps::<0xee>(r[i], r[i + 2]);
            q[i + 2] = _mm256_shuffle_ps::<0x44>(r[i + 1], r[i + 3]);
            q[i + 3] = _mm256_shuffle_ps::<0xee>(r[i + 1], r[i + 3]);
        }
        for i in 0..4 {
            r[i] = _mm256_permute2f128_ps::<0x20>(q[i], q[i + 4]);
            r[i + 4] = _mm256_permute2f128_ps::<0x31>(q[i], q[i + 4]);
        }
        r
    }
}
