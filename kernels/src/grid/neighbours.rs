//! Which points of a grid come into question for levels that are no point (`iq2xs_init_impl`, `iq3xs_init_impl`).

use std::ops::Range;

/// For all groups of levels: the point that they are, or the points near by.
pub(crate) struct Neighbours {
    dims: usize,
    /// By the [number](number) of the levels: where the points near by start in `codes`, in points, and above it by
    /// `LEN_BITS` bits how many there are. Of points themselves: their index, and no points near by.
    entries: Box<[u32]>,
    /// Levels of points, little-endian; lists are filled up to a multiple of 16 with their first point.
    codes: Box<[u8]>,
}

/// Bits for the length of a list.
const LEN_BITS: u32 = 10;

/// What a group of levels is.
pub(crate) enum Place<'a> {
    /// A point, of this index.
    Point(u16),
    /// No point.
    Between(Near<'a>),
}

/// The points near by, by their distances and then their indices.
#[derive(Clone, Copy)]
pub(crate) struct Near<'a> {
    /// Levels, little-endian, and more so that a vector's worth can be read anywhere.
    pub codes: &'a [u8],
    pub len: usize,
}

impl Neighbours {
    /// Of groups of `dims` levels, 8 of three or 4 of eight. Points near by are those at the `shells` least distances.
    pub fn new(points: &[u16], dims: usize, shells: usize) -> Neighbours {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Neighbours::by_threads(threads, &Lists::new(points, dims, shells))
    }

    /// The numbers in equal parts, each by a thread of its own.
    fn by_threads(threads: usize, lists: &Lists) -> Neighbours {
        let part = |first| move || lists.of(first..(first + lists.count.div_ceil(threads)).min(lists.count));
        let parts: Vec<_> = std::thread::scope(|scope| {
            let starts = (0..lists.count).step_by(lists.count.div_ceil(threads));
            let started: Vec<_> =
                starts.map(|first| (first, std::thread::Builder::new().spawn_scoped(scope, part(first)))).collect();
            // Where the system grants no further thread, this one does the part.
            let done = started.into_iter().map(|(first, thread)| match thread {
                Ok(thread) => thread.join().expect("no part panics"),
                Err(_) => part(first)(),
            });
            done.collect()
        });
        let (mut entries, mut codes) = (Vec::with_capacity(lists.count), Vec::new());
        for (of_part, near) in parts {
            let start = (codes.len() / 2) as u32;
            let is_point = |entry: u32| entry & ((1 << LEN_BITS) - 1) == 0;
            entries.extend(
                of_part.into_iter().map(|entry| if is_point(entry) { entry } else { entry + (start << LEN_BITS) }),
            );
            codes.extend(near);
        }
        assert!(codes.len() / 2 < 1 << (32 - LEN_BITS), "a grid of the format");
        Neighbours { dims: lists.dims, entries: entries.into(), codes: codes.into() }
    }

    /// What these levels are.
    #[inline(always)]
    pub fn place(&self, code: u16) -> Place<'_> {
        let entry = self.entries[number(self.dims, code)];
        let (start, len) = ((entry >> LEN_BITS) as usize, (entry & ((1 << LEN_BITS) - 1)) as usize);
        if len == 0 {
            Place::Point(start as u16)
        } else {
            Place::Between(Near { codes: &self.codes[2 * start..], len })
        }
    }

    /// Whether these levels are a point. Types of 2 bits are 7 % slower where [`place`](Self::place) is asked instead, which
    /// also finds the points near by.
    #[inline(always)]
    pub fn is_point(&self, code: u16) -> bool {
        self.entries[number(self.dims, code)] & ((1 << LEN_BITS) - 1) == 0
    }

    /// The index of the point that these levels are.
    #[inline(always)]
    pub fn index(&self, code: u16) -> u16 {
        match self.place(code) {
            Place::Point(index) => index,
            Place::Between(_) => panic!("levels {code:#x} are no point"),
        }
    }
}

/// What the lists are made from.
struct Lists<'a> {
    points: &'a [u16],
    dims: usize,
    shells: usize,
    /// Groups of levels.
    count: usize,
    half_bits: usize,
    squares: Vec<u8>,
}

impl<'a> Lists<'a> {
    fn new(points: &'a [u16], dims: usize, shells: usize) -> Self {
        let (bits, count) = if dims == 8 { (2, 3usize.pow(8)) } else { (3, 8usize.pow(4)) };
        let half_bits = bits * dims / 2;
        Lists { points, dims, shells, count, half_bits, squares: squares(half_bits, bits) }
    }

    /// Entries and codes of the groups of these numbers, as if there were no others.
    fn of(&self, numbers: Range<usize>) -> (Vec<u32>, Vec<u8>) {
        let (mut entries, mut codes) = (Vec::with_capacity(numbers.len()), Vec::new());
        let mut distances = vec![0u8; self.points.len()];
        for number in numbers {
            let code = code(self.dims, number);
            let half_bits = self.half_bits;
            let row = |half: usize| &self.squares[half << half_bits..][..1 << half_bits];
            let (low, high) = (row(code & ((1 << half_bits) - 1)), row(code >> half_bits));
            let mut present = [false; 256];
            for (distance, &point) in distances.iter_mut().zip(self.points) {
                let point = usize::from(point);
                *distance = low[point & ((1 << half_bits) - 1)] + high[point >> half_bits];
                present[usize::from(*distance)] = true;
            }
            if present[0] {
                let index = distances.iter().position(|&distance| distance == 0);
                entries.push((index.expect("the point that is present") as u32) << LEN_BITS);
                continue;
            }
            let start = codes.len() / 2;
            for shell in (0..=255).filter(|&distance| present[usize::from(distance)]).take(self.shells) {
                let near = self.points.iter().zip(&distances).filter(|(_, distance)| **distance == shell);
                codes.extend(near.flat_map(|(point, _)| point.to_le_bytes()));
            }
            let len = codes.len() / 2 - start;
            assert!(len <= MOST, "a grid of the format");
            entries.push((start as u32) << LEN_BITS | len as u32);
            while !(codes.len() / 2).is_multiple_of(16) {
                codes.extend_from_within(2 * start..2 * start + 2);
            }
        }
        (entries, codes)
    }
}

/// The length of the longest lists.
pub(crate) const MOST: usize = 304;

/// Squared distances between halves of groups of levels of `bits` bits.
fn squares(half_bits: usize, bits: usize) -> Vec<u8> {
    let size = 1usize << half_bits;
    let mut squares = vec![0; size * size];
    for (at, square) in squares.iter_mut().enumerate() {
        let (a, b) = (at / size, at % size);
        for shift in (0..half_bits).step_by(bits) {
            let level = |half: usize| (half >> shift & ((1 << bits) - 1)) as u8;
            *square += level(a).abs_diff(level(b)).pow(2);
        }
    }
    squares
}

/// The number of a group of levels: of three each in base 3, so that there are no gaps.
#[inline(always)]
fn number(dims: usize, code: u16) -> usize {
    let [low, high] = code.to_le_bytes().map(usize::from);
    if dims == 8 { usize::from(BASE_3[low]) + 81 * usize::from(BASE_3[high]) } else { usize::from(code) }
}

/// The levels of this number.
fn code(dims: usize, number: usize) -> usize {
    let half = |number: u8| BASE_3.iter().position(|&of_byte| of_byte == number).expect("a number of four levels");
    if dims == 8 { half((number % 81) as u8) | half((number / 81) as u8) << 8 } else { number }
}

/// Numbers in base 3 of four levels of 2 bits; 255 where a level is 3.
static BASE_3: [u8; 256] = {
    let mut numbers = [255; 256];
    let mut number = 0;
    while number < 81 {
        let levels = number % 3 + (number / 3 % 3) * 4 + (number / 9 % 3) * 16 + (number / 27) * 64;
        numbers[levels] = number as u8;
        number += 1;
    }
    numbers
};

#[cfg(test)]
mod tests {
    use super::super::points;
    use super::{Lists, Neighbours};

    /// Parts of any size join to the same tables. What is in them, the blocks of the golden files tell.
    #[test]
    fn threads_make_no_difference() {
        for (points, dims, shells) in [(&points::IQ2_256[..], 8, 2), (&points::IQ3_512, 4, 3)] {
            let lists = Lists::new(points, dims, shells);
            let [one, seven] = [1, 7].map(|threads| Neighbours::by_threads(threads, &lists));
            assert_eq!((one.entries.len(), &one.entries, &one.codes), (lists.count, &seven.entries, &seven.codes));
        }
    }
}
