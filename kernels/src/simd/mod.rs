//! CPU levels, and the vectors that kernels are written against. The crate's only `unsafe` code.
//!
//! A kernel is a struct of its arguments that implements [`Kernel`], once, generic over [`Simd`]. [`Level::run`]
//! compiles it for every level and runs the one asked for. A level is a proof that the CPU has it: detection is the only
//! way to one, so running a kernel is safe.
//!
//! A further level is one file with a token that implements [`Simd`], a variant of `Kind`, an arm of [`Level::run`] and
//! a row of `LEVELS`.

#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod avx512;
#[cfg(all(feature = "std", target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod scalar;
mod twice;
mod vector;

pub use scalar::Scalar;
pub use twice::Twice;
pub use vector::{MOST_LANES, Simd, TILE};

/// A computation over vectors, with its arguments as fields.
pub trait Kernel {
    /// What it computes.
    type Out;

    /// Computes it with the vectors of one level.
    ///
    /// Implementations carry `#[inline(always)]`, and so does every function that they hand vectors to: what is not
    /// inlined into [`Level::run`] is compiled without the level's instructions.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// A CPU level; a value of this type proves that the CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx2(avx2::Avx2),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx512(avx512::Avx512),
    #[cfg(all(feature = "std", target_arch = "aarch64", target_endian = "little"))]
    Neon(neon::Neon),
}

/// A level's name and whether this CPU has it.
type Row = (&'static str, fn() -> Option<Level>);

/// Every level, those of one architecture from worst to best. The names are known on every architecture, so that a name
/// meant for another one is called unsupported and not unknown.
static LEVELS: &[Row] = &[
    ("scalar", || Some(Level(Kind::Scalar))),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    ("avx2", || avx2::Avx2::detect().map(|token| Level(Kind::Avx2(token)))),
    #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
    ("avx2", || None),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    ("avx512", || avx512::Avx512::detect().map(|token| Level(Kind::Avx512(token)))),
    #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
    ("avx512", || None),
    #[cfg(all(feature = "std", target_arch = "aarch64", target_endian = "little"))]
    ("neon", || neon::Neon::detect().map(|token| Level(Kind::Neon(token)))),
    #[cfg(not(all(feature = "std", target_arch = "aarch64", target_endian = "little")))]
    ("neon", || None),
];

impl Level {
    /// The level that every CPU has.
    pub const SCALAR: Level = Level(Kind::Scalar);

    /// Every level that this CPU has, from worst to best. Without the feature `std` only the scalar one.
    pub fn all() -> impl Iterator<Item = Level> {
        LEVELS.iter().filter_map(|(_, detect)| detect())
    }

    /// The best level that this CPU has.
    pub fn detect() -> Level {
        Level::all().last().unwrap_or(Level::SCALAR)
    }

    /// The level's name, in lower case: what [`Level::by_name`] takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Kind::Avx2(_) => "avx2",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Kind::Avx512(_) => "avx512",
            #[cfg(all(feature = "std", target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon(_) => "neon",
        }
    }

    /// Runs the kernel with this level's vectors and instructions.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self.0 {
            Kind::Scalar => kernel.run(Scalar::new()),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            // SAFETY: the token proves that the CPU has every feature that the function switches on.
            Kind::Avx2(token) => unsafe { avx2::run(token, kernel) },
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            // SAFETY: as above.
            Kind::Avx512(token) => unsafe { avx512::run(token, kernel) },
            #[cfg(all(feature = "std", target_arch = "aarch64", target_endian = "little"))]
            // SAFETY: as above.
            Kind::Neon(token) => unsafe { neon::run(token, kernel) },
        }
    }
}

#[cfg(feature = "std")]
mod choice;
#[cfg(feature = "std")]
pub use choice::{LevelError, VARIABLE};

#[cfg(all(test, feature = "std"))]
mod tests;
