//! Turns published model weights into compact ones.
//!
//! open -> identify -> plan -> execute -> commit: see the README's Architecture section.
#![forbid(unsafe_code)]

pub mod arch;
pub mod calibrate;
pub mod card;
pub mod checkpoint;
pub mod corpus;
pub mod coverage;
pub mod evaluate;
pub mod folding;
pub mod forward;
pub mod input;
pub mod license;
pub mod model;
pub mod options;
pub mod pipeline;
pub mod plan;
pub mod preflight;
pub mod publish;
pub mod recipe;
pub mod rounding;
pub mod scheme;
pub mod target;
pub mod tokenizer;
pub mod view;
pub mod weights;
