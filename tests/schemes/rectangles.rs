//! Any rectangle of a weight is the same part of the whole.

use weightmill::weights::Storage;
use weightmill_kernels::Level;

use crate::golden::{CASES, decode};

#[test]
fn rectangles_are_parts_of_the_whole() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % bound
    };
    for case in CASES.iter() {
        let weights = case.read();
        let weight = weights.list().iter().find(|weight| matches!(weight.storage, Storage::Encoded(_))).unwrap();
        let (_, [rows, columns], whole) = decode(&weights, Level::SCALAR);
        for round in 0..40 {
            let (first_row, first_column) = (below(rows), below(columns));
            let (end_row, end_column) =
                (first_row + 1 + below(rows - first_row), first_column + 1 + below(columns - first_column));
            // Whole rows, as the pipeline asks for them, and cuts at the boundaries of words and groups.
            let some_columns = match round % 3 {
                0 => 0..columns,
                1 => first_column..end_column,
                _ => (first_column / 32 * 32).min(columns - 1)..end_column,
            };
            let expected: Vec<u32> = (first_row..end_row)
                .flat_map(|row| &whole[row * columns..][some_columns.clone()])
                .map(|value| value.to_bits())
                .collect();
            for level in Level::all() {
                let mut part = vec![f32::NAN; expected.len()];
                weights.decode(weight, level, first_row..end_row, some_columns.clone(), &mut part);
                let found: Vec<u32> = part.iter().map(|value| value.to_bits()).collect();
                assert!(
                    found == expected,
                    "{}: rows {first_row}..{end_row}, columns {some_columns:?}, {}",
                    case.name,
                    level.name()
                );
            }
        }
    }
}
