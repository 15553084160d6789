//! Our blocks are llama.cpp's blocks, bit for bit, at every CPU level; and so are the weights decoded from them.
//!
//! `golden/digests.txt` holds the digests, `golden/make.py` says how they were made, `common` makes the inputs.

mod common;

use common::{Case, SOURCES, TYPES, cases};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use weightmill_kernels::{Dtype, Level, dequantize, quantize, validate};

/// The first 48 bits of the SHA-256, as in `make.py`.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// What follows the key in each line of the digests.
fn golden() -> BTreeMap<String, Vec<&'static str>> {
    let lines = include_str!("golden/digests.txt").lines();
    let mut golden = BTreeMap::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        if words[0] == "input" || words[1] == "decode" {
            golden.insert(words[..2].join(" "), words[2..].to_vec());
        } else {
            let keys = words[2].split(',').map(|importance| format!("{} {} {importance}", words[0], words[1]));
            golden.extend(keys.map(|key| (key, words[3..].to_vec())));
        }
    }
    golden
}

#[test]
fn the_inputs_are_those_that_the_reference_saw() {
    let golden = golden();
    for case in cases() {
        let parts: Vec<_> = case.variants().map(|(_, i)| bytes(i.unwrap_or(&case.weights))).collect();
        let parts: Vec<_> = parts.iter().map(|part| &part[..]).collect();
        assert_eq!(golden[&format!("input {}", case.name)], [digest(&parts)], "{}", case.name);
    }
}

#[test]
fn every_type_with_an_encoder_has_digests() {
    for dtype in Dtype::all().filter(|dtype| dtype.info().quantize.is_some()) {
        assert!(TYPES.contains(&dtype), "{dtype} has an encoder but no golden digests");
    }
}

#[test]
fn blocks_equal_the_references() {
    let (cases, golden) = (&cases(), &golden());
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while let Some(&dtype) = TYPES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The types on grids are encoded with the standard library only.
                    if cfg!(not(feature = "std")) && dtype.info().quantize.is_none() {
                        continue;
                    }
                    let found = differences(dtype, cases, golden);
                    faults.lock().expect("no thread panicked").extend(found);
                }
            });
        }
    });
    let faults = faults.into_inner().expect("no thread panicked");
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

/// Every case and level in which our blocks of this type are not the reference's.
fn differences(dtype: Dtype, cases: &[Case], golden: &BTreeMap<String, Vec<&str>>) -> Vec<String> {
    let mut faults = Vec::new();
    for case in cases.iter().filter(|case| case.columns.is_multiple_of(dtype.info().block_len)) {
        for (kind, importance) in case.variants_for(dtype) {
            let key = format!("{dtype} {} {kind}", case.name);
            let expected = golden.get(&key).unwrap_or_else(|| panic!("no digest for {key}"));
            for level in Level::all() {
                if let Err(fault) = compare(level, dtype, case, importance, expected) {
                    faults.push(format!("{key} at level {}: {fault}", level.name()));
                }
            }
        }
    }
    faults
}

/// Quantizes and dequantizes one case; the error says what differs.
fn compare(
    level: Level,
    dtype: Dtype,
    case: &Case,
    importance: Option<&[f32]>,
    expected: &[&str],
) -> Result<(), String> {
    let size = dtype.byte_size(case.weights.len() as u64).expect("whole blocks") as usize;
    let mut blocks = vec![0xa5; size];
    quantize(level, dtype, &case.weights, case.columns, importance, &mut blocks);
    if let ["rejected", block] = *expected {
        // The reference's block has a scale that is not finite; ours must be found out too.
        let found = validate(dtype, &blocks);
        return match found == Err(block.parse().expect("a number")) {
            true => Ok(()),
            false => Err(format!("validated as {found:?}, not Err({block})")),
        };
    }
    if let ["aborted"] = *expected {
        // There is nothing to compare with, but that there are blocks.
        return Ok(());
    }
    let [blocks_digest, weights_digest, row_digests] = *expected else { panic!("malformed line {expected:?}") };
    if digest(&[&blocks]) != blocks_digest {
        let rows = blocks.chunks(size / case.rows).zip(row_digests.bytes());
        let mut differing = rows.map(|(row, expected)| digest(&[row]).as_bytes()[0] != expected);
        return Err(match differing.position(|differs| differs) {
            Some(row) => format!("row {row} of {} differs", case.rows),
            None => "a row differs (four bits per row did not show which)".to_string(),
        });
    }
    if validate(dtype, &blocks).is_err() {
        return Err("equal, but not validated".to_string());
    }
    let mut weights = vec![f32::NAN; case.weights.len()];
    dequantize(level, dtype, &blocks, &mut weights);
    match digest(&[&bytes(&weights)]) == weights_digest {
        true => Ok(()),
        false => Err("the decoded weights differ".to_string()),
    }
}

#[test]
fn random_blocks_decode_as_the_reference_decodes_them() {
    let golden = golden();
    for &dtype in TYPES.iter().chain(SOURCES) {
        let info = dtype.info();
        let blocks = common::blocks::random(dtype);
        let mut weights = vec![f32::NAN; blocks.len() / info.block_bytes * info.block_len];
        for level in Level::all() {
            dequantize(level, dtype, &blocks, &mut weights);
            let digest = digest(&[&bytes(&weights)]);
            assert_eq!(golden[&format!("{dtype} decode")], [digest], "{dtype} at level {}", level.name());
        }
    }
}
