//! `-t safetensors-*`: checkpoint folders out.

use std::fs;

use sha2::{Digest as _, Sha256};

use super::support::{FIXTURE, quantize, scratch};
