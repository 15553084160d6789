//! Two vectors worked on in step, as one of twice the width.

use super::{Simd, TILE};

/// The level `S` with vectors twice as wide: every operation is done on both halves.
///
/// The halves do not depend on each other, so the CPU overlaps their latencies. That is what makes long dependent sums,
/// one per lane, fast.
#[derive(Clone, Copy, Debug)]
pub struct Twice<S>(pub S);

macro_rules! halves {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ident),*) -> $out:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::$ty),*) -> Self::$out {
            (self.0.$name($($arg.0),*), self.0.$name($($arg.1),*))
        }
    )*};
}

impl<S: Simd> Simd for Twice<S> {
    const LANES: usize = 2 * S::LANES;
    const LOOKUP: usize = S::LOOKUP;
    type F32 = (S::F32, S::F32);
    type I32 = (S::I32, S::I32);
    type Mask = (S::Mask, S::Mask);

    halves! {
        fn add(a: F32, b: F32) -> F32;
        fn sub(a: F32, b: F32) -> F32;
        fn mul(a: F32, b: F32) -> F32;
        fn mul_add_roughly(a: F32, b: F32, c: F32) -> F32;
        fn div(a: F32, b: F32) -> F32;
        fn sqrt(v: F32) -> F32;
        fn min(a: F32, b: F32) -> F32;
        fn max(a: F32, b: F32) -> F32;
        fn abs(v: F32) -> F32;
        fn neg(v: F32) -> F32;
        fn round_even(v: F32) -> F32;
        fn lt(a: F32, b: F32) -> Mask;
        fn le(a: F32, b: F32) -> Mask;
        fn eq(a: F32, b: F32) -> Mask;
        fn and_lt(mask: Mask, a: F32, b: F32) -> Mask;
        fn and_ne(mask: Mask, a: F32, b: F32) -> Mask;
        fn select(mask: Mask, yes: F32, no: F32) -> F32;
        fn and(a: Mask, b: Mask) -> Mask;
        fn or(a: Mask, b: Mask) -> Mask;
        fn not(a: Mask) -> Mask;
        fn add_i32(a: I32, b: I32) -> I32;
        fn sub_i32(a: I32, b: I32) -> I32;
        fn min_i32(a: I32, b: I32) -> I32;
        fn max_i32(a: I32, b: I32) -> I32;
        fn and_i32(a: I32, b: I32) -> I32;
        fn or_i32(a: I32, b: I32) -> I32;
        fn eq_i32(a: I32, b: I32) -> Mask;
        fn gt_i32(a: I32, b: I32) -> Mask;
        fn add_one_i32(mask: Mask, v: I32) -> I32;
        fn select_i32(mask: Mask, yes: I32, no: I32) -> I32;
        fn to_f32(v: I32) -> F32;
        fn trunc_i32(v: F32) -> I32;
        fn to_bits(v: F32) -> I32;
        fn from_bits(v: I32) -> F32;
        fn to_f16_bits(v: F32) -> I32;
        fn from_f16_bits(v: I32) -> F32;
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        (self.0.splat(value), self.0.splat(value))
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::F32 {
        (self.0.load(src), self.0.load(&src[S::LANES..]))
    }
    #[inline(always)]
    fn store(self, v: Self::F32, dst: &mut [f32]) {
        self.0.store(v.0, dst);
        self.0.store(v.1, &mut dst[S::LANES..]);
    }
    #[inline(always)]
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], mut column: impl FnMut(usize, Self::F32)) {
        let mut lower = [self.0.splat(0.0); TILE];
        self.0.columns(
            #[inline(always)]
            |lane| row(lane),
            #[inline(always)]
            |i, v| lower[i] = v,
        );
        self.0.columns(
            #[inline(always)]
            |lane| row(S::LANES + lane),
            #[inline(always)]
            |i, v| column(i, (lower[i], v)),
        );
    }
    #[inline(always)]
    fn reduce_max(self, v: Self::F32) -> f32 {
        self.0.reduce_max(self.0.max(v.0, v.1))
    }
    #[inline(always)]
    fn reduce_min(self, v: Self::F32) -> f32 {
        self.0.reduce_min(self.0.min(v.0, v.1))
    }
    #[inline(always)]
    fn bits(self, mask: Self::Mask) -> u32 {
        self.0.bits(mask.0) | self.0.bits(mask.1) << S::LANES
    }
    #[inline(always)]
    fn mask(self, bits: u32) -> Self::Mask {
        (self.0.mask(bits), self.0.mask(bits >> S::LANES))
    }
    #[inline(always)]
    fn any(self, mask: Self::Mask) -> bool {
        self.0.any(self.0.or(mask.0, mask.1))
    }
    #[inline(always)]
    fn all(self, mask: Self::Mask) -> bool {
        self.0.all(self.0.and(mask.0, mask.1))
    }
    #[inline(always)]
    fn lookup<const N: usize>(self, table: &[f32; N], i: Self::I32) -> Self::F32 {
        (self.0.lookup(table, i.0), self.0.lookup(table, i.1))
    }
    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I32 {
        (self.0.splat_i32(value), self.0.splat_i32(value))
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> Self::I32 {
        (self.0.load_i32(src), self.0.load_i32(&src[S::LANES..]))
    }
    #[inline(always)]
    fn store_i32(self, v: Self::I32, dst: &mut [i32]) {
        self.0.store_i32(v.0, dst);
        self.0.store_i32(v.1, &mut dst[S::LANES..]);
    }
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> Self::I32 {
        (self.0.load_u8(src), self.0.load_u8(&src[S::LANES..]))
    }
    #[inline(always)]
    fn load_i8(self, src: &[u8]) -> Self::I32 {
        (self.0.load_i8(src), self.0.load_i8(&src[S::LANES..]))
    }
    #[inline(always)]
    fn load_u16(self, src: &[u8]) -> Self::I32 {
        (self.0.load_u16(src), self.0.load_u16(&src[2 * S::LANES..]))
    }
    #[inline(always)]
    fn store_u16(self, v: Self::I32, dst: &mut [u8]) {
        self.0.store_u16(v.0, dst);
        self.0.store_u16(v.1, &mut dst[2 * S::LANES..]);
    }
    #[inline(always)]
    fn store_u8(self, v: Self::I32, dst: &mut [u8]) {
        self.0.store_u8(v.0, dst);
        self.0.store_u8(v.1, &mut dst[S::LANES..]);
    }
    #[inline(always)]
    fn after_i32(self, before: Self::I32, v: Self::I32) -> Self::I32 {
        (self.0.after_i32(before.1, v.0), self.0.after_i32(v.0, v.1))
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self, v: Self::I32) -> Self::I32 {
        (self.0.shl_i32::<N>(v.0), self.0.shl_i32::<N>(v.1))
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self, v: Self::I32) -> Self::I32 {
        (self.0.shr_i32::<N>(v.0), self.0.shr_i32::<N>(v.1))
    }
}
