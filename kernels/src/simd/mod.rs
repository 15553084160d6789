//! CPU levels.

/// A CPU level; a value of this type proves that the CPU has it.
#[derive(Clone, Copy, Debug)]
pub struct Level(());
