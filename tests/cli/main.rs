//! The real binary, run as a user runs it: every test has its own folder.

mod arch_map;
mod arguments;
mod checkpoints;
mod defects;
mod forward;
mod imatrix;
mod inspect;
#[cfg(unix)]
mod interrupt;
mod license;
mod outputs;
mod pickles;
mod preflight;
mod reproducible;
mod rounding;
mod scaling;
mod schemes;
mod support;
mod tensors;
mod tokenizer;
