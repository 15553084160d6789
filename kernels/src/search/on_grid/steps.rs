//! The scales that are tried, and the levels that numbers have for them.

use super::{ALL, Magnitudes, ROOM, Rules, STEPS};
use crate::grid::Grid;
use crate::simd::Simd;

/// The most vectors that the steps fill: none has less than 4 lanes.
const VECTORS: usize = STEPS / 4;

/// The inverse scales that are tried, one per lane.
pub(super) struct Steps<S: Simd> {
    pub count: usize,
    pub vectors: usize,
    inverses: [S::F32; VECTORS],
    /// With room for a vector more.
    pub scales: [f32; STEPS + ROOM],
    /// All products of an inverse and a number are so small that they can be rounded as floats.
    small: bool,
}

/// Rounds to an even number when added, and leaves the half of it in the lowest bits of the sum.
const ROUND: f32 = 25_165_824.0;

impl<S: Simd> Steps<S> {
    /// Those of the sub-block that starts at a number; `reaches` are set for its numbers.
    #[inline(always)]
    pub fn new<G: Grid>(
        s: S,
        rules: Rules,
        mapped: f32,
        numbers: Magnitudes,
        start: usize,
        reaches: &mut [f32; ALL],
    ) -> Self {
        let count = 2 * rules.steps + 1;
        let mut steps = Steps {
            count,
            vectors: count.div_ceil(S::LANES),
            inverses: [s.splat(0.0); VECTORS],
            scales: [0.0; STEPS + ROOM],
            small: false,
        };
        const NUMBERS: [i32; STEPS] = {
            let mut numbers = [0; STEPS];
            let mut i = 0;
            while i < STEPS {
                numbers[i] = i as i32;
                i += 1;
            }
            numbers
        };
        for vector in 0..steps.vectors {
            let at = vector * S::LANES;
            let number = s.load_i32(&NUMBERS[at..]);
            // The lanes after the last step repeat it.
            let step = s.min_i32(number, s.splat_i32(2 * rules.steps as i32));
            let step = s.to_f32(s.sub_i32(step, s.splat_i32(rules.steps as i32)));
            let value = s.add(s.splat((2 * G::TOP + 1) as f32), s.mul(step, s.splat(rules.delta)));
            let inverse = s.div(value, s.splat(mapped));
            steps.inverses[vector] = inverse;
            s.store(s.div(s.splat(1.0), inverse), &mut steps.scales[at..]);
        }
        let (mut most, farthest) = (s.splat(0.0), s.splat((2 * G::TOP + 1) as f32 * steps.scales[0]));
        for at in (start..start + rules.len).step_by(S::LANES) {
            let x = s.abs(s.load(&numbers.x[at..]));
            most = s.max(x, most);
            let reach = s.add(farthest, x);
            s.store(s.mul(s.mul(s.load(&numbers.root[at..]), reach), reach), &mut reaches[at..]);
        }
        let greatest = ((2 * G::TOP + 1) as f32 + rules.steps as f32 * rules.delta) / mapped;
        steps.small = s.reduce_max(most) * greatest < 4e6;
        steps
    }

    /// A bit for each step.
    #[inline(always)]
    pub fn all(&self) -> u32 {
        u32::MAX >> (STEPS - self.count)
    }

    /// The levels of a group's numbers for a vector of steps.
    #[inline(always)]
    pub fn levels<G: Grid>(&self, s: S, vector: usize, x: &[f32]) -> S::I32 {
        let inverse = self.inverses[vector];
        let mut code = s.splat_i32(0);
        if self.small {
            let one = s.splat(1.0);
            let (low, high) = (s.splat(ROUND), s.splat(ROUND + 2.0 * G::TOP as f32));
            for &x in x[..G::DIMS].iter().rev() {
                // Twice the level is what is to be rounded; that it is rounded to even numbers does the same.
                let twice = s.add(s.sub(s.mul(inverse, s.splat(x)), one), low);
                let level = s.to_bits(s.max(s.min(twice, high), low));
                code = s.add_i32(shift::<G, S>(s, code), level);
            }
            let offset = (0..G::DIMS)
                .fold(0i32, |sum, dim| sum.wrapping_add((ROUND.to_bits() as i32).wrapping_shl((G::BITS * dim) as u32)));
            s.sub_i32(code, s.splat_i32(offset))
        } else {
            for &x in x[..G::DIMS].iter().rev() {
                code = s.add_i32(shift::<G, S>(s, code), level::<G, S>(s, s.mul(inverse, s.splat(x))));
            }
            code
        }
    }
}

/// The level of `v = 2 level + 1`; also of what is too large for rounding as floats.
#[inline(always)]
pub(super) fn level<G: Grid, S: Simd>(s: S, v: S::F32) -> S::I32 {
    let level = s.nearest_i32(s.mul(s.splat(0.5), s.sub(v, s.splat(1.0))));
    s.max_i32(s.min_i32(level, s.splat_i32(G::TOP)), s.splat_i32(0))
}

/// Makes room for another level below.
#[inline(always)]
pub(super) fn shift<G: Grid, S: Simd>(s: S, levels: S::I32) -> S::I32 {
    if G::BITS == 2 { s.shl_i32::<2>(levels) } else { s.shl_i32::<3>(levels) }
}
