//! One scale for numbers of either sign whose levels are not spaced evenly: `x ~ scale * VALUES[level]`
//! (`quantize_row_iq4_nl_impl`).

use super::symmetric::extreme;
use crate::simd::Simd;

/// The values of levels (`kvalues_iq4nl`).
pub(crate) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Half-way between the values of a level and the next one.
const fn middle(level: usize) -> f32 {
    (VALUES[level] as f32 + VALUES[level + 1] as f32) / 2.0
}

/// A way to the values of levels: a guess `g` that is an integer, such that no two middles have the same guess.
///
/// The reference searches by halving. Here the guess leads to the only middle that may lie between the number and the end
/// of those with the same guess; on which side of it the number lies decides.
struct Tables<const N: usize> {
    /// The middle among the numbers of guess `g % N`; infinity if there is none.
    middles: [f32; N],
    /// The level of the least numbers of that guess.
    levels: [f32; N],
    /// Its value.
    values: [f32; N],
}

/// Rounds when added, and leaves the integer in the lowest bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// Tens: 15 of the numbers from -15 to 15 hold a middle each.
const TENS: Tables<32> = {
    let mut tables = Tables { middles: [f32::INFINITY; 32], levels: [0.0; 32], values: [0.0; 32] };
    let (mut ten, mut level) = (-16i32, 0);
    while ten < 16 {
        let at = (ten & 31) as usize;
        tables.levels[at] = level as f32;
        tables.values[at] = VALUES[level] as f32;
        if level < 15 && middle(level) < ten as f32 * 10.0 + 5.0 {
            tables.middles[at] = middle(level);
            level += 1;
        }
        ten += 1;
    }
    tables
};

/// The level itself or the one before.
const LEVELS: Tables<16> = {
    let mut tables = Tables { middles: [f32::INFINITY; 16], levels: [0.0; 16], values: [0.0; 16] };
    let mut level = 0;
    while level < 16 {
        tables.levels[level] = level as f32;
        tables.values[level] = VALUES[level] as f32;
        if level < 15 {
            tables.middles[level] = middle(level);
        }
        level += 1;
    }
    tables
};

/// What to look up for numbers `v`, whose magnitudes are 140 at most: indices to levels and values, in the lowest bits.
///
/// All of the numbers go one step before any goes the next: a step waits for the one before, and the CPU does not look far
/// enough ahead to fill the time with other numbers itself.
#[inline(always)]
fn indices<S: Simd, const K: usize>(s: S, v: &[S::F32; K]) -> [S::I32; K] {
    let (mut guesses, mut middles) = (*v, *v);
    let mut indices = [s.splat_i32(0); K];
    if S::LOOKUP >= 32 {
        for guess in &mut guesses {
            *guess = s.mul_add_roughly(*guess, s.splat(0.1), s.splat(ROUND));
        }
        for (middle, &guess) in middles.iter_mut().zip(&guesses) {
            *middle = s.lookup(&TENS.middles, s.to_bits(guess));
        }
        // Steps of rounded numbers are 1, too; a masked addition of floats is one instruction of AVX-512, while LLVM makes
        // three of one of integers.
        for (i, index) in indices.iter_mut().enumerate() {
            let next = s.add(guesses[i], s.splat(1.0));
            *index = s.to_bits(s.select(s.ge(v[i], middles[i]), next, guesses[i]));
        }
    } else {
        // A parabola for each sign. At each middle `i` it is within 0.2 of `i`; it ascends, from -0.4 at -140 to 15.3 at 140.
        for guess in &mut guesses {
            *guess = s.mul_add_roughly(s.abs(*guess), s.splat(-0.00027), s.splat(0.094));
        }
        for (guess, &v) in guesses.iter_mut().zip(v) {
            *guess = s.mul_add_roughly(*guess, v, s.splat(7.4));
        }
        for guess in &mut guesses {
            *guess = s.add(*guess, s.splat(ROUND));
        }
        for (middle, &guess) in middles.iter_mut().zip(&guesses) {
            *middle = s.lookup(&LEVELS.middles, s.to_bits(guess));
        }
        for (i, index) in indices.iter_mut().enumerate() {
            *index = s.add_one_i32(s.ge(v[i], middles[i]), s.to_bits(guesses[i]));
        }
    }
    indices
}

/// The level whose value is nearest to `v`, the greater one of two that are equally near; level 15 for NaN.
#[inline(always)]
pub(crate) fn nearest_level<S: Simd>(s: S, v: S::F32) -> S::I32 {
    let bound = s.splat(140.0);
    let [index] = indices(s, &[s.max(s.min(v, bound), s.neg(bound))]);
    s.trunc_i32(if S::LOOKUP >= 32 { s.lookup(&TENS.levels, index) } else { s.lookup(&LEVELS.levels, index) })
}

/// Groups of `N` numbers, one per lane.
pub(crate) struct Nonlinear<'a, S: Simd, const N: usize> {
    pub x: &'a [S::F32; N],
    /// The weights of the numbers.
    pub w: &'a [S::F32; N],
}

impl<S: Simd, const N: usize> Nonlinear<'_, S, N> {
    /// Tries inverse scales that map the number of greatest magnitude to -127 and to numbers up to 7 off; the scale of each
    /// is the weighted least-squares fit to the levels that it gives. Groups that hold nothing but zeros have scale 0.
    #[inline(always)]
    pub fn search(self, s: S) -> S::F32 {
        let (zero, lowest) = (s.splat(0.0), f32::from(VALUES[0]));
        let [extreme, magnitude] = extreme(s, self.x);

        // The first one has to be no better than nothing. Its inverse is rounded twice.
        let inverse = s.div(s.splat(1.0), s.div(s.neg(extreme), s.splat(lowest)));
        let [sum_qx, sum_q2] = self.sums(s, inverse);
        let mut scale = s.select(s.gt(sum_q2, zero), s.div(sum_qx, sum_q2), zero);
        // What a better fit has to exceed: by how much the fit lowers the weighted squared error.
        let mut gain = s.mul(scale, sum_qx);
        for step in -7..=7i8 {
            let inverse = s.div(s.splat(f32::from(step) + lowest), extreme);
            let [sum_qx, sum_q2] = self.sums(s, inverse);
            let better = s.gt(s.mul(sum_qx, sum_qx), s.mul(gain, sum_q2));
            let better = s.and(better, s.gt(sum_q2, zero));
            let new = s.div(sum_qx, sum_q2);
            scale = s.select(better, new, scale);
            gain = s.select(better, s.mul(new, sum_qx), gain);
        }
        s.select(s.lt(magnitude, s.splat(1e-15)), zero, scale)
    }

    /// The sums of `w q x` and `w q q` over the numbers, where `q` is the value of the level of `x`.
    #[inline(always)]
    fn sums(&self, s: S, inverse: S::F32) -> [S::F32; 2] {
        // Measured: 16 are up to 13 % faster than 4 with 8 lanes and 4 % with 16, and a third slower without lanes.
        if S::LANES < 8 { self.sums_of::<4>(s, inverse) } else { self.sums_of::<16>(s, inverse) }
    }

    /// The same, `TOGETHER` numbers at a time.
    #[inline(always)]
    fn sums_of<const TOGETHER: usize>(&self, s: S, inverse: S::F32) -> [S::F32; 2] {
        let mut sums = [s.splat(0.0); 2];
        let groups = self.x.as_chunks::<TOGETHER>().0.iter().zip(self.w.as_chunks::<TOGETHER>().0);
        for (x, w) in groups {
            let mut v = *x;
            for v in &mut v {
                *v = s.mul(inverse, *v);
            }
            let indices = indices(s, &v);
            for (i, index) in indices.into_iter().enumerate() {
                let values =
                    if S::LOOKUP >= 32 { s.lookup(&TENS.values, index) } else { s.lookup(&LEVELS.values, index) };
                v[i] = values;
            }
            for i in 0..TOGETHER {
                let wq = s.mul(w[i], v[i]);
                sums[0] = s.add(sums[0], s.mul(wq, x[i]));
                sums[1] = s.add(sums[1], s.mul(wq, v[i]));
            }
        }
        sums
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{VALUES, nearest_level};
    use crate::simd::{Kernel, Level, Simd};

    /// The reference's search, on which the blocks depend at ties and beyond the ends.
    fn reference(v: f32) -> i32 {
        let values = VALUES.map(f32::from);
        if v <= values[0] || v >= values[15] {
            return if v <= values[0] { 0 } else { 15 };
        }
        let above = values.iter().position(|value| v < *value).unwrap_or(15);
        (if v - values[above - 1] < values[above] - v { above - 1 } else { above }) as i32
    }

    struct Levels<'a>(&'a [f32]);

    impl Kernel for Levels<'_> {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut levels = [0; 64];
            for v in self.0.chunks_exact(S::LANES) {
                s.store_i32(nearest_level(s, s.load(v)), &mut levels);
                for (&v, &level) in v.iter().zip(&levels) {
                    assert_eq!(level, reference(v), "{v} with {} lanes", S::LANES);
                }
            }
        }
    }

    #[test]
    fn levels_are_the_references() {
        let mut numbers: Vec<f32> = (-3000..=3000).map(|i| i as f32 / 20.0).collect();
        // Middles are multiples of a half.
        for half in -300i32..=300 {
            let middle = half as f32 / 2.0;
            numbers.extend([middle, middle.next_up(), middle.next_down()]);
        }
        numbers.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-40, -0.0]);
        numbers.resize(numbers.len().next_multiple_of(64), 0.0);
        Level::all().for_each(|level| level.run(Levels(&numbers)));
    }
}
