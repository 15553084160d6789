//! Grids: the sets of points to which types of few bits restrict groups of levels.
//!
//! A group is 8 levels of 2 bits or 4 levels of 3 bits; as a number, the first level is the lowest. Blocks hold the index of
//! a point, in the order of its grid.
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
mod neighbours;
mod points;

#[cfg(feature = "std")]
pub(crate) use neighbours::{MOST, Near, Neighbours, Place};

/// Points with the values of their levels.
pub(crate) type Values<const DIMS: usize, const POINTS: usize> = [[i8; DIMS]; POINTS];

/// Looks up the values of levels.
const fn values<const DIMS: usize, const POINTS: usize>(
    points: &[u16; POINTS],
    of_levels: &[i8],
) -> Values<DIMS, POINTS> {
    let bits = if DIMS == 8 { 2 } else { 3 };
    let mut values = [[0; DIMS]; POINTS];
    let mut point = 0;
    while point < POINTS {
        let mut dim = 0;
        while dim < DIMS {
            let level = points[point] >> (bits * dim as u32) & ((1 << bits) - 1);
            values[point][dim] = of_levels[level as usize];
            dim += 1;
        }
        point += 1;
    }
    values
}

/// A grid as encoders need it.
#[cfg(feature = "std")]
pub(crate) trait Grid {
    /// Levels of a group.
    const DIMS: usize;
    /// Bits of a level.
    const BITS: usize;
    /// The largest level.
    const TOP: i32;

    /// The points near by all levels, worked out by all cores when first asked for: that takes some milliseconds, and memory
    /// to stay.
    fn neighbours() -> &'static Neighbours;
}

#[cfg(feature = "std")]
macro_rules! grids {
    ($($(#[$doc:meta])* $name:ident: $points:ident, $dims:literal levels of $bits:literal bits up to $top:literal, $shells:literal shells;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Grid for $name {
            const DIMS: usize = $dims;
            const BITS: usize = $bits;
            const TOP: i32 = $top;

            fn neighbours() -> &'static Neighbours {
                static NEIGHBOURS: std::sync::OnceLock<Neighbours> = std::sync::OnceLock::new();
                NEIGHBOURS.get_or_init(|| Neighbours::new(&points::$points, $dims, $shells))
            }
        }
    )*};
}

#[cfg(feature = "std")]
grids! {
    /// Of IQ2_XXS.
    Grid2Of256: IQ2_256, 8 levels of 2 bits up to 2, 2 shells;
    /// Of IQ2_XS.
    Grid2Of512: IQ2_512, 8 levels of 2 bits up to 2, 2 shells;
    /// Of IQ2_S.
    Grid2Of1024: IQ2_1024, 8 levels of 2 bits up to 2, 1 shells;
    /// Of IQ3_XXS.
    Grid3Of256: IQ3_256, 4 levels of 3 bits up to 7, 2 shells;
    /// Of IQ3_S.
    Grid3Of512: IQ3_512, 4 levels of 3 bits up to 7, 3 shells;
    /// Of IQ1_S and IQ1_M.
    Grid1Of2048: IQ1_2048, 8 levels of 2 bits up to 2, 3 shells;
}

/// Of types of 2 bits, in eighths.
const EIGHTHS: [i8; 3] = [8, 25, 43];

pub(crate) static IQ2_XXS: Values<8, 256> = values(&points::IQ2_256, &EIGHTHS);
pub(crate) static IQ2_XS: Values<8, 512> = values(&points::IQ2_512, &EIGHTHS);
pub(crate) static IQ2_S: Values<8, 1024> = values(&points::IQ2_1024, &EIGHTHS);
pub(crate) static IQ3_XXS: Values<4, 256> = values(&points::IQ3_256, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(crate) static IQ3_S: Values<4, 512> = values(&points::IQ3_512, &[1, 3, 5, 7, 9, 11, 13, 15]);
pub(crate) static IQ1: Values<8, 2048> = values(&points::IQ1_2048, &[-1, 0, 1]);

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The digest of all values, in the order of the points.
    fn digest<const DIMS: usize>(name: &str, values: &[[i8; DIMS]]) -> String {
        let mut hash = Sha256::new();
        values.as_flattened().iter().for_each(|value| hash.update([*value as u8]));
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name} {} {digest}", values.len())
    }

    #[test]
    fn grids_are_the_references() {
        let digests = [
            digest("iq2xxs", &IQ2_XXS),
            digest("iq2xs", &IQ2_XS),
            digest("iq2s", &IQ2_S),
            digest("iq3xxs", &IQ3_XXS),
            digest("iq3s", &IQ3_S),
            digest("iq1s", &IQ1),
        ];
        assert_eq!(digests.join("\n"), include_str!("../../tests/golden/grids.txt").trim_end());
    }
}
