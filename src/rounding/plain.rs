//! Rows as the plain quantizer rounds them: where their scales come from, and what rounding has to be better than.

use std::ops::Range;

use weightmill_kernels::{
    Dtype, Level, Points, dequantize, quantize, read_scales, validate, write_levels, write_scales,
};

use super::descent::Chosen;
use super::rows::Grid;
use crate::scheme::{Chunk, Coder, Numbers};

/// Bytes and runs of a block of any type whose levels are chosen.
const MOST_BYTES: usize = 256;
const MOST_RUNS: usize = 16;

/// Rows that are rounded plainly.
pub(super) struct Plain<'a> {
    /// What the weights become, row by row.
    pub values: Vec<f32>,
    /// Columns that share scale and offset.
    pub run: usize,
    pub points: Points,
    /// Row by row a number for every run.
    pub scales: Vec<f32>,
    /// Likewise.
    pub offsets: Vec<f32>,
    /// What the bytes are made of.
    pub kept: Kept<'a>,
}

/// What is known of rows beside their levels.
pub(super) enum Kept<'a> {
    /// Blocks with their scales.
    Blocks(Dtype, Vec<u8>),
    /// Numbers of groups, and codes.
    Codes(&'a Coder, Numbers, Vec<u8>),
}

impl<'a> Plain<'a> {
    /// As blocks. `None` if their scales cannot hold the weights.
    pub fn of_blocks(
        level: Level,
        dtype: Dtype,
        columns: usize,
        weights: &[f32],
        importance: Option<&[f32]>,
    ) -> Option<Self> {
        let way = dtype.levels()?;
        let mut blocks = vec![0; usize::try_from(dtype.byte_size(weights.len() as u64)?).ok()?];
        quantize(level, dtype, weights, columns, importance, &mut blocks);
        validate(dtype, &blocks).ok()?;
        let runs = weights.len() / way.run;
        let (mut scales, mut offsets, mut values) = (vec![0.0; runs], vec![0.0; runs], vec![0.0; weights.len()]);
        read_scales(dtype, &blocks, &mut scales, &mut offsets);
        dequantize(level, dtype, &blocks, &mut values);
        let kept = Kept::Blocks(dtype, blocks);
        Some(Self { values, run: way.run, points: way.points, scales, offsets, kept })
    }

    /// As codes of a scheme of integers. `None` if its scales cannot hold the weights.
    pub fn of_codes(
        level: Level,
        coder: &'a Coder,
        rows: Range<usize>,
        weights: &[f32],
        importance: Option<&[f32]>,
    ) -> Option<Self> {
        let points = coder.points()?;
        let numbers = coder.numbers(level, &Chunk { rows, weights, importance, divisor: 1.0, given: None })?;
        let run = coder.group();
        let (scales, offsets) = (numbers.scales.clone(), numbers.shifts.clone());
        let mut levels = vec![0; weights.len()];
        let grid = Grid { run, points, scales: &scales, offsets: &offsets };
        grid.nearest(weights, &mut levels);
        let values = levels.iter().enumerate().map(|(at, level)| grid.value(at, *level)).collect();
        Some(Self { values, run, points, scales, offsets, kept: Kept::Codes(coder, numbers, levels) })
    }
}

impl Kept<'_> {
    /// The scale and the offset that run `run`, counted over the rows, can have nearest to these; NaN where nothing will do.
    pub fn snap(&self, level: Level, run: usize, scale: f32, offset: f32) -> (f32, f32) {
        match self {
            Kept::Blocks(dtype, blocks) => {
                let info = dtype.info();
                let runs = info.block_len / dtype.levels().map_or(info.block_len, |levels| levels.run);
                let mut block = [0; MOST_BYTES];
                let block = &mut block[..info.block_bytes];
                block.copy_from_slice(&blocks[run / runs * info.block_bytes..][..info.block_bytes]);
                let (mut scales, mut offsets) = ([scale; MOST_RUNS], [offset; MOST_RUNS]);
                let (scales, offsets) = (&mut scales[..runs], &mut offsets[..runs]);
                write_scales(*dtype, scales, offsets, block);
                read_scales(*dtype, block, scales, offsets);
                (scales[run % runs], offsets[run % runs])
            }
            Kept::Codes(coder, ..) => coder.snap(level, scale, offset),
        }
    }

    /// The bytes of the rows, with these levels and scales in place of those that the plain quantizer chose.
    pub fn finish(self, chosen: Option<Chosen<'_>>, bytes: &mut [u8]) {
        match self {
            Kept::Blocks(dtype, mut blocks) => {
                if let Some(Chosen { levels, scales, offsets }) = chosen {
                    write_levels(dtype, levels, &mut blocks);
                    write_scales(dtype, scales, offsets, &mut blocks);
                }
                bytes.copy_from_slice(&blocks);
            }
            Kept::Codes(coder, mut numbers, mut nearest) => {
                if let Some(Chosen { levels, scales, offsets }) = chosen {
                    nearest.copy_from_slice(levels);
                    numbers.set(coder, scales, offsets);
                }
                coder.record(&nearest, &numbers, bytes);
            }
        }
    }
}
