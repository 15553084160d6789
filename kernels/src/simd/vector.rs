//! The vector that kernels are written against.

/// Columns that [`Simd::columns`] makes at a time.
pub const TILE: usize = 16;

/// No CPU level's vectors have more lanes; two in step have twice as many.
pub const MOST_LANES: usize = 16;

/// A CPU level's vectors: `LANES` values of 32 bits, worked on lane by lane.
///
/// Values of the implementing types are tokens: whoever holds one has proof that the CPU executes the level's
/// instructions, so the methods are safe. The trait holds what kernels need, not what a CPU offers. Every operation
/// (but one that says so) is one IEEE 754 operation per lane (round to nearest even, never fused), hence gives the same bits at every level.
///
/// Methods carry `#[inline(always)]` and no `#[target_feature]`: only [`Level::run`](super::Level::run) switches
/// the target features on, and everything that a kernel calls must be inlined into it.
#[allow(clippy::wrong_self_convention)] // `self` is the token, the value converted is the argument
pub trait Simd: Copy + Send + Sync + 'static {
    /// Lanes of a vector.
    const LANES: usize;
    /// The length of tables up to which [`lookup`](Self::lookup) is fast.
    const LOOKUP: usize;
    /// `LANES` floats.
    type F32: Copy;
    /// `LANES` integers; their signedness is the operation's.
    type I32: Copy;
    /// One truth value per lane.
    type Mask: Copy;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::F32;
    /// The first `LANES` elements of `src`; panics if there are fewer.
    fn load(self, src: &[f32]) -> Self::F32;
    /// Writes the lanes to the first `LANES` elements of `dst`; panics if there are fewer.
    fn store(self, v: Self::F32, dst: &mut [f32]);
    /// Asks the CPU to bring `src` near, as it will be read soon, in an order that it does not foresee.
    #[inline(always)]
    fn prefetch(self, src: &[f32]) {
        let _ = src;
    }
    /// Turns `LANES` rows into columns, handed over one by one: lane `l` of column `i` is `row(l)[i]`.
    fn columns<'a>(self, row: impl Fn(usize) -> &'a [f32; TILE], column: impl FnMut(usize, Self::F32));

    /// Turns `LANES` stretches of `src` into lanes: lane `l` of `dst[i]` is `src[start(l) + i]`.
    ///
    /// Panics if a stretch of `dst.len()` elements does not lie within `src`.
    #[inline(always)]
    fn transpose(self, src: &[f32], start: impl Fn(usize) -> usize, dst: &mut [Self::F32]) {
        let mut rows = [src; 4 * MOST_LANES];
        for (lane, row) in rows[..Self::LANES].iter_mut().enumerate() {
            *row = &src[start(lane)..][..dst.len()];
        }
        let (tiles, rest) = dst.as_chunks_mut::<TILE>();
        let done = TILE * tiles.len();
        for (i, tile) in tiles.iter_mut().enumerate() {
            self.columns(
                #[inline(always)]
                |lane| rows[lane][TILE * i..].first_chunk().expect("as long as all tiles"),
                #[inline(always)]
                |i, column| tile[i] = column,
            );
        }
        for (i, v) in rest.iter_mut().enumerate() {
            let mut lanes = [0.0; 4 * MOST_LANES];
            for (x, row) in lanes[..Self::LANES].iter_mut().zip(rows) {
                *x = row[done + i];
            }
            *v = self.load(&lanes);
        }
    }

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// About `a * b + c`, rounded once or twice: not the same at every level, so only for guesses that are then corrected.
    fn mul_add_roughly(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The square root, correctly rounded.
    fn sqrt(self, v: Self::F32) -> Self::F32;
    /// `a < b ? a : b`, which also says what becomes of zeros of unlike sign and of NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a > b ? a : b`
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The value without its sign.
    fn abs(self, v: Self::F32) -> Self::F32;
    /// The value with its sign flipped.
    fn neg(self, v: Self::F32) -> Self::F32;
    /// The nearest integer, ties to the even one. Only for |v| < 2^22; the sign of a zero is unspecified.
    fn round_even(self, v: Self::F32) -> Self::F32;
    /// The largest lane; unspecified if a lane is NaN.
    fn reduce_max(self, v: Self::F32) -> f32;

    /// `a < b`; false if either is NaN, as are the next two.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a <= b`
    fn le(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a == b`
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a > b`
    #[inline(always)]
    fn gt(self, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.lt(b, a)
    }
    /// `a >= b`
    #[inline(always)]
    fn ge(self, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.le(b, a)
    }
    /// `mask && a < b`: one instruction where masks have registers of their own.
    #[inline(always)]
    fn and_lt(self, mask: Self::Mask, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.and(mask, self.lt(a, b))
    }
    /// `mask && !(a == b)`, true also if either is NaN.
    #[inline(always)]
    fn and_ne(self, mask: Self::Mask, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.and(mask, self.not(self.eq(a, b)))
    }
    /// `mask ? yes : no`
    fn select(self, mask: Self::Mask, yes: Self::F32, no: Self::F32) -> Self::F32;

    /// The smallest lane; unspecified if a lane is NaN.
    fn reduce_min(self, v: Self::F32) -> f32;
    /// A bit per lane, that of the first one lowest.
    fn bits(self, mask: Self::Mask) -> u32;
    /// The mask whose lanes are true where bits are set: the inverse of [`bits`](Self::bits).
    fn mask(self, bits: u32) -> Self::Mask;
    /// True if any lane is.
    fn any(self, mask: Self::Mask) -> bool;
    /// True if all lanes are.
    fn all(self, mask: Self::Mask) -> bool;
    /// `a && b`
    fn and(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// `a || b`
    fn or(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// `!a`
    fn not(self, a: Self::Mask) -> Self::Mask;

    /// `value` in every lane.
    fn splat_i32(self, value: i32) -> Self::I32;
    /// The first `LANES` elements of `src`; panics if there are fewer.
    fn load_i32(self, src: &[i32]) -> Self::I32;
    /// Writes the lanes to the first `LANES` elements of `dst`; panics if there are fewer.
    fn store_i32(self, v: Self::I32, dst: &mut [i32]);
    /// The first `LANES` bytes of `src`, zero-extended; panics if there are fewer.
    fn load_u8(self, src: &[u8]) -> Self::I32;
    /// The first `LANES` bytes of `src`, sign-extended; panics if there are fewer.
    fn load_i8(self, src: &[u8]) -> Self::I32;
    /// The first `2 * LANES` bytes of `src` as little-endian 16-bit words, zero-extended; panics if there are fewer.
    fn load_u16(self, src: &[u8]) -> Self::I32;
    /// Writes each lane's lower half, little-endian, to the first `2 * LANES` bytes of `dst`; panics if there are fewer.
    fn store_u16(self, v: Self::I32, dst: &mut [u8]);
    /// Writes each lane's lowest byte to the first `LANES` elements of `dst`; panics if there are fewer.
    fn store_u8(self, v: Self::I32, dst: &mut [u8]);
    /// `a + b`, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a - b`, wrapping.
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The smaller, as signed integers.
    fn min_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The larger, as signed integers.
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise and.
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise or.
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `v << N`
    fn shl_i32<const N: u32>(self, v: Self::I32) -> Self::I32;
    /// `v >> N`, zeros coming in.
    fn shr_i32<const N: u32>(self, v: Self::I32) -> Self::I32;
    /// `a == b`
    fn eq_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// `a > b`, as signed integers.
    fn gt_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// `mask ? v + 1 : v`
    fn add_one_i32(self, mask: Self::Mask, v: Self::I32) -> Self::I32;
    /// The lanes of `v` moved up by one: the lowest one comes from the highest one of `before`.
    fn after_i32(self, before: Self::I32, v: Self::I32) -> Self::I32;
    /// `mask ? yes : no`
    fn select_i32(self, mask: Self::Mask, yes: Self::I32, no: Self::I32) -> Self::I32;

    /// `table[i % N]`, where `N` is 8, 16 or 32.
    fn lookup<const N: usize>(self, table: &[f32; N], i: Self::I32) -> Self::F32;

    /// The integer as a float, rounded to nearest even.
    fn to_f32(self, v: Self::I32) -> Self::F32;
    /// The float without its fraction as an integer; `i32::MIN` for NaN and for values that do not fit.
    fn trunc_i32(self, v: Self::F32) -> Self::I32;
    /// The float's bits.
    fn to_bits(self, v: Self::F32) -> Self::I32;
    /// The float of these bits.
    fn from_bits(self, v: Self::I32) -> Self::F32;
    /// The bits of the nearest half-precision float (ties to even, overflow to infinity), zero-extended.
    fn to_f16_bits(self, v: Self::F32) -> Self::I32;
    /// The value of the half-precision float whose bits are the lanes' lower halves; the upper halves must be zero.
    fn from_f16_bits(self, v: Self::I32) -> Self::F32;

    /// The value as it comes back from half precision.
    #[inline(always)]
    fn round_f16(self, v: Self::F32) -> Self::F32 {
        self.from_f16_bits(self.to_f16_bits(v))
    }

    /// ggml's `nearest_int`: the nearest integer, ties to even, for |v| < 2^22; for other values, infinities and NaN
    /// exactly the number that the same trick with the bits gives there.
    #[inline(always)]
    fn nearest_i32(self, v: Self::F32) -> Self::I32 {
        let bits = self.to_bits(self.add(v, self.splat(12_582_912.0)));
        self.sub_i32(self.and_i32(bits, self.splat_i32(0x007f_ffff)), self.splat_i32(0x0040_0000))
    }

    /// C's `roundf` as an integer: the nearest integer, ties away from zero; `i32::MIN` for NaN and for values that do
    /// not fit.
    #[inline(always)]
    fn round_away_i32(self, v: Self::F32) -> Self::I32 {
        // The largest float below 1/2 carries exactly the values from a half on over the next integer; 1/2 itself
        // would also carry 0.49999997.
        let half = self.splat_i32(0.499_999_97_f32.to_bits() as i32);
        let sign = self.and_i32(self.to_bits(v), self.splat_i32(i32::MIN));
        self.trunc_i32(self.add(v, self.from_bits(self.or_i32(half, sign))))
    }
}
