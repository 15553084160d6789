//! Types of GGUF whose blocks can hold a quantized weight as it is, code by code.
//!
//! Exact means that ggml decodes the blocks to the very f32 numbers that the scheme defines, with two reservations. Zero
//! has no sign in ggml's tables of 4-bit floats. And MLX rounds the product of code and scale to the precision of the
//! scale before it adds the bias; the blocks hold code, scale and bias themselves, which is more than that leaves.

use std::ops::Range;

use half::f16;
use weightmill_formats::Source;
use weightmill_kernels::{Dtype, Level};

use super::apply::Formula;
use super::codes::TILE;
use super::coding::Coding;
use super::grouped::{Grouped, Offsets};
use super::numbers::Then;
use super::shared::Shared;
use crate::weights::Encoded as _;

/// Rows of a weight whose scales are looked at together.
const ROWS: usize = 64;

/// The type that can hold exactly the values of `weight`. Reads all of its scales.
pub(super) fn find(weight: &Grouped, source: &dyn Source, level: Level) -> Option<Dtype> {
    let Grouped { codes, grid, .. } = weight;
    if weight.flat.is_some() || weight.order.is_some() {
        return None;
    }
    let bits = codes.packing.bits();
    let dtype = match (&weight.coding, weight.formula, &weight.offsets) {
        (Coding::E2M1, Formula::Scaled { factor: 1.0 }, _) => return with_stored_scales(weight, source),
        (Coding::Unsigned, Formula::Centred, Offsets::Constant(_)) => match bits {
            ..=4 => Dtype::Q4_0,
            5 => Dtype::Q5_0,
            _ => Dtype::Q8_0,
        },
        (Coding::Signed, Formula::Centred, Offsets::Constant(0.0)) => Dtype::Q8_0,
        (Coding::Unsigned, Formula::Centred, Offsets::Codes { .. }) | (Coding::Unsigned, Formula::Affine(_), _) => {
            match bits {
                ..=4 => Dtype::Q4_1,
                5 => Dtype::Q5_1,
                _ => return None,
            }
        }
        _ => return None,
    };
    let block = dtype.info().block_len;
    let aligned = grid.block_columns.is_multiple_of(block) || grid.groups == 1;
    let whole = codes.columns.is_multiple_of(block);
    let fits = aligned && whole && exact(weight, source, level);
    release(weight, source);
    fits.then_some(dtype)
}

/// The types that keep the scales of 4-bit floats as they are stored here.
fn with_stored_scales(weight: &Grouped, source: &dyn Source) -> Option<Dtype> {
    let Grouped { codes, grid, scales, .. } = weight;
    // ggml gives other values to the last code of either kind of scale, and takes no negative one.
    let (dtype, group, least_wrong) = match scales.dtype {
        Dtype::F8_E8M0 => (Dtype::MXFP4, 32, 0xff),
        Dtype::F8_E4M3 => (Dtype::NVFP4, 16, 0x7f),
        _ => return None,
    };
    let plain = matches!(scales.then, Then::Nothing) && !grid.by_group && grid.block_rows == 1;
    let whole = grid.block_columns == group && codes.columns.is_multiple_of(dtype.info().block_len);
    let stored = source.view(&source.tensors()[scales.tensor]);
    (plain && whole && stored.iter().all(|&scale| scale < least_wrong)).then_some(dtype)
}

/// Whether f16 can hold all scales and offsets.
fn exact(weight: &Grouped, source: &dyn Source, level: Level) -> bool {
    let mut shared = Shared::new(weight, source, level, 0..weight.grid.groups);
    (0..weight.codes.rows).step_by(ROWS).all(|start| {
        let rows = start..weight.codes.rows.min(start + ROWS);
        shared.load(rows.clone());
        rows.into_iter().all(|row| {
            let (scales, offsets) = shared.of(row, 0);
            scales.iter().zip(offsets).all(|(&scale, &offset)| {
                // With a zero point and a scale that is not positive, zeros would change their sign.
                let sign_changes = matches!(weight.offsets, Offsets::Codes { .. }) && scale <= 0.0;
                is_f16(scale) && is_f16(minimum(weight, scale, offset)) && !sign_changes
            })
        })
    })
}

/// Tells the system that what was looked at is not needed before the weight is decoded.
fn release(weight: &Grouped, source: &dyn Source) {
    for part in weight.parts().into_iter().filter(|part| *part != weight.codes.tensor) {
        let tensor = &source.tensors()[part];
        source.release(tensor, 0..tensor.bytes);
    }
}

/// What is added to `code * scale`. For zero points: exact, as both factors have few bits.
fn minimum(weight: &Grouped, scale: f32, offset: f32) -> f32 {
    match (weight.formula, &weight.offsets) {
        (Formula::Affine(_), _) => offset,
        (_, Offsets::Codes { .. }) => -offset * scale,
        _ => 0.0,
    }
}

fn is_f16(value: f32) -> bool {
    value.is_finite() && f16::from_f32(value).to_f32().to_bits() == value.to_bits()
}

/// Writes whole rows of `weight` as blocks of its lossless type.
pub(super) fn repack(weight: &Grouped, source: &dyn Source, rows: Range<usize>, dst: &mut [u8]) {
    let Some(dtype) = weight.lossless else { panic!("{} has no lossless type", weight.name) };
    let Grouped { codes, grid, .. } = weight;
    let info = dtype.info();
    let columns = codes.columns;
    let row_bytes = columns / info.block_len * info.block_bytes;
    assert_eq!(dst.len(), rows.len() * row_bytes, "room for the rows' blocks");
    let view = |tensor: usize| source.view(&source.tensors()[tensor]);
    let (packed, stored_scales) = (view(codes.tensor), view(weight.scales.tensor));
    let level = Level::SCALAR;
    let mut shared = Shared::new(weight, source, level, 0..grid.groups);
    let mut unpacked = [0; TILE];
    for start in rows.clone().step_by(ROWS) {
        let together = start..rows.end.min(start + ROWS);
        shared.load(together.clone());
        for [tile_rows, tile_columns] in codes.tiles(together.clone(), 0..columns) {
            let unpacked = &mut unpacked[..tile_rows.len() * tile_columns.len()];
            codes.unpack(level, packed, tile_rows.clone(), tile_columns.clone(), unpacked);
            for (row, unpacked) in tile_rows.zip(unpacked.chunks_exact(tile_columns.len())) {
                let (scales, offsets) = shared.of(row, 0);
                let first_stored = grid.number_row(row) * grid.groups;
                let first = (row - rows.start) * row_bytes + tile_columns.start / info.block_len * info.block_bytes;
                let blocks = dst[first..].chunks_exact_mut(info.block_bytes);
                for (at, (codes, block)) in unpacked.chunks_exact(info.block_len).zip(blocks).enumerate() {
                    let group = (tile_columns.start + at * info.block_len) / grid.block_columns;
                    match dtype {
                        Dtype::MXFP4 => mxfp4(stored_scales[first_stored + group], codes, block),
                        Dtype::NVFP4 => nvfp4(&stored_scales[first_stored + group..], codes, block),
                        _ => {
                            let m = minimum(weight, scales[group], offsets[group]);
                            integers(dtype, weight, [scales[group], m], codes, block);
                        }
                    }
                }
            }
        }
    }
}

/// 16 bytes with the first 16 of 32 codes in the low halves, the others in the high halves.
fn halves(codes: &[u8], dst: &mut [u8]) {
    let (low, high) = codes.split_at(codes.len() / 2);
    for ((dst, low), high) in dst.iter_mut().zip(low).zip(high) {
        *dst = low & 15 | high << 4;
    }
}

/// Bytes of a block: the exponent, then the codes.
fn mxfp4(scale: u8, codes: &[u8], block: &mut [u8]) {
    block[0] = scale;
    halves(codes, &mut block[1..]);
}

/// Bytes of a block: four scales, then four times the codes of 16 weights.
fn nvfp4(scales: &[u8], codes: &[u8], block: &mut [u8]) {
    let (head, body) = block.split_at_mut(4);
    head.copy_from_slice(&scales[..4]);
    for (codes, dst) in codes.chunks_exact(16).zip(body.chunks_exact_mut(8)) {
        halves(codes, dst);
    }
}

/// Bytes of a block: scale and, of some types, minimum as f16, then the codes; of 5 bits the uppermost ones first.
fn integers(dtype: Dtype, weight: &Grouped, [scale, minimum]: [f32; 2], codes: &[u8], block: &mut [u8]) {
    let (head, mut body) = block.split_at_mut(2);
    head.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    if matches!(dtype, Dtype::Q4_1 | Dtype::Q5_1) {
        let (head, rest) = body.split_at_mut(2);
        head.copy_from_slice(&f16::from_f32(minimum).to_le_bytes());
        body = rest;
    }
    // Levels of these types are stored plus half their number; those of Q8_0 are signed.
    let centre = match dtype {
        Dtype::Q4_0 => 8,
        Dtype::Q5_0 => 16,
        _ => 0,
    };
    let shift = match weight.offsets {
        Offsets::Constant(zero) if weight.formula == Formula::Centred => (centre - zero as i32) as u8,
        _ => 0,
    };
    let mut levels = [0; 32];
    for (level, code) in levels.iter_mut().zip(codes) {
        *level = code.wrapping_add(shift);
    }
    match dtype {
        Dtype::Q8_0 => body.copy_from_slice(&levels),
        Dtype::Q5_0 | Dtype::Q5_1 => {
            let upper = levels.iter().rev().fold(0, |bits: u32, level| bits << 1 | u32::from(level >> 4));
            body[..4].copy_from_slice(&upper.to_le_bytes());
            halves(&levels, &mut body[4..]);
        }
        _ => halves(&levels, body),
    }
}
