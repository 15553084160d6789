//! Weights to integer codes.

use super::{Groups, each};
use crate::simd::{Kernel, Level, Simd};

/// What makes the codes of a group lie around another number than zero.
#[derive(Clone, Copy, Debug)]
pub enum Offsets<'a> {
    /// Nothing: `round(x / scale)`.
    None,
    /// A zero point for each group: `round(x / scale + zero)`.
    Zeros(&'a [f32]),
    /// A zero point for each group, and half precision: `round(f16(x / scale)) + zero`, as AutoAWQ computes.
    ZerosInHalf(&'a [f32]),
    /// A bias for each group: `round((x - bias) / scale)`.
    Biases(&'a [f32]),
}

/// The codes of all weights, clamped to `low ..= high` and stored less `low`, one per byte; halves are rounded to even numbers.
///
/// `scales` has a number other than zero for each group.
///
/// # Panics
/// If a length does not fit, or `low ..= high` are not whole numbers that a byte can tell apart.
pub fn integers(
    level: Level,
    groups: Groups<'_>,
    scales: &[f32],
    offsets: Offsets<'_>,
    [low, high]: [f32; 2],
    dst: &mut [u8],
) {
    let count = groups.count();
    assert_eq!(count, scales.len(), "one scale for each group");
    assert_eq!(groups.weights.len(), dst.len(), "room for the codes");
    let is_whole = |bound: f32| bound as i32 as f32 == bound;
    assert!(is_whole(low) && is_whole(high) && (0.0..256.0).contains(&(high - low)), "codes of a byte");
    let has_all = |offsets: &[f32]| assert_eq!(count, offsets.len(), "one offset for each group");
    match offsets {
        Offsets::None => level.run(Integers { groups, scales, offsets: &[], low, high, dst, way: Plain }),
        Offsets::Zeros(offsets) => {
            has_all(offsets);
            level.run(Integers { groups, scales, offsets, low, high, dst, way: Zero });
        }
        Offsets::ZerosInHalf(offsets) => {
            has_all(offsets);
            level.run(Integers { groups, scales, offsets, low, high, dst, way: ZeroInHalf });
        }
        Offsets::Biases(offsets) => {
            has_all(offsets);
            level.run(Integers { groups, scales, offsets, low, high, dst, way: Bias });
        }
    }
}

struct Integers<'a, W> {
    groups: Groups<'a>,
    scales: &'a [f32],
    offsets: &'a [f32],
    low: f32,
    high: f32,
    dst: &'a mut [u8],
    way: W,
}

/// A formula, rounding and clamping included.
trait Way: Copy {
    fn code<S: Simd>(self, s: S, x: S::F32, scale: S::F32, offset: S::F32, bounds: [S::F32; 2]) -> S::F32;
}

#[derive(Clone, Copy)]
struct Plain;
#[derive(Clone, Copy)]
struct Zero;
#[derive(Clone, Copy)]
struct ZeroInHalf;
#[derive(Clone, Copy)]
struct Bias;

impl Way for Plain {
    #[inline(always)]
    fn code<S: Simd>(self, s: S, x: S::F32, scale: S::F32, _: S::F32, bounds: [S::F32; 2]) -> S::F32 {
        s.round_even(clamp(s, s.div(x, scale), bounds))
    }
}

impl Way for Zero {
    #[inline(always)]
    fn code<S: Simd>(self, s: S, x: S::F32, scale: S::F32, zero: S::F32, bounds: [S::F32; 2]) -> S::F32 {
        s.round_even(clamp(s, s.add(s.div(x, scale), zero), bounds))
    }
}

impl Way for ZeroInHalf {
    #[inline(always)]
    fn code<S: Simd>(self, s: S, x: S::F32, scale: S::F32, zero: S::F32, bounds: [S::F32; 2]) -> S::F32 {
        // No quotient beyond this, which round_even can take, gives a code inside the bounds.
        let far = [s.splat(-1024.0), s.splat(1024.0)];
        let rounded = s.round_even(s.round_f16(clamp(s, s.div(x, scale), far)));
        clamp(s, s.add(rounded, zero), bounds)
    }
}

impl Way for Bias {
    #[inline(always)]
    fn code<S: Simd>(self, s: S, x: S::F32, scale: S::F32, bias: S::F32, bounds: [S::F32; 2]) -> S::F32 {
        s.round_even(clamp(s, s.div(s.sub(x, bias), scale), bounds))
    }
}

#[inline(always)]
fn clamp<S: Simd>(s: S, v: S::F32, [low, high]: [S::F32; 2]) -> S::F32 {
    s.min(s.max(v, low), high)
}

impl<W: Way> Kernel for Integers<'_, W> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let bounds = [s.splat(self.low), s.splat(self.high)];
        let low = s.splat_i32(self.low as i32);
        let groups = self.groups.iter().zip(self.dst.chunks_exact_mut(self.groups.group));
        for (number, (group, dst)) in groups.enumerate() {
            let scale = s.splat(self.scales[number]);
            let offset = s.splat(self.offsets.get(number).copied().unwrap_or(0.0));
            each(
                s,
                group,
                dst,
                #[inline(always)]
                |x| s.sub_i32(s.trunc_i32(self.way.code(s, x, scale, offset, bounds)), low),
            );
        }
    }
}
