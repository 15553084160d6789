//! The 8-bit float types, code by code, against PyTorch's conversion: `golden/f8.py` made `golden/f8.txt`.

use weightmill_kernels::{Dtype, Level, dequantize};

#[test]
fn every_code_has_the_value_that_pytorch_gives_it() {
    let mut types = 0;
    for line in include_str!("golden/f8.txt").lines() {
        let (name, values) = line.split_once(' ').expect("a type and its values");
        let dtype = Dtype::from_name(name).expect("a known type");
        let expected: Vec<u32> = (0..256).map(|i| u32::from_str_radix(&values[8 * i..][..8], 16).unwrap()).collect();
        // Every length leaves another tail of lanes, every start puts a code into another lane.
        for level in Level::all() {
            for (start, end) in [(0, 256), (1, 256), (0, 255), (3, 18), (100, 131), (250, 251), (7, 7)] {
                let codes: Vec<u8> = (start..end).map(|code| code as u8).collect();
                let mut found = vec![-1.0; codes.len()];
                dequantize(level, dtype, &codes, &mut found);
                for (code, found) in codes.iter().zip(found) {
                    let expected = expected[usize::from(*code)];
                    let equal = found.to_bits() == expected || found.is_nan() && f32::from_bits(expected).is_nan();
                    assert!(equal, "{dtype} {code:#04x} at level {}: {found}", level.name());
                }
            }
        }
        types += 1;
    }
    assert_eq!(types, 3);
}
