//! One file per tensor type: its layout, its encoder, its decoder.
#![forbid(unsafe_code)]
