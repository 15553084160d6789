//! Outputs in several files.

use weightmill::options::{Request, Split};
use weightmill::plan::{Plan, PlanError};
use weightmill_formats::Value;

use crate::golden::Golden;
use crate::source::Tensors;
use crate::{read_back, request};

fn split(size: u64) -> Result<Plan, PlanError> {
    let source = Tensors::of(&Golden::named("llama"));
    source.plan(None, &Request { split: Split::Bytes(size), ..request(&["Q8_0"]) })
}

#[test]
fn parts_are_as_large_as_allowed_and_hold_everything() {
    let whole = split(u64::MAX).expect("a plan");
    assert_eq!(whole.outputs[0].parts.len(), 1);
    assert_eq!(whole.outputs[0].parts[0].path, whole.outputs[0].path);
    let size = 60_000;
    let plan = split(size).expect("a plan");
    let output = &plan.outputs[0];
    let count = output.parts.len();
    assert!((4..=6).contains(&count), "{count} parts");
    let mut names = Vec::new();
    for (number, part) in output.parts.iter().enumerate() {
        assert!(part.bytes <= size, "part {number}: {} bytes", part.bytes);
        let name = format!("out/tiny-Q8_0-{:05}-of-{count:05}.gguf", number + 1);
        assert_eq!(part.path.to_string_lossy(), name);
        let file = read_back(part);
        assert_eq!(file.metadata.get("split.no"), Some(&Value::U16(number as u16)));
        assert_eq!(file.metadata.get("split.count"), Some(&Value::U16(count as u16)));
        assert_eq!(file.metadata.get("split.tensors.count"), Some(&Value::I32(output.tensors.len() as i32)));
        assert_eq!(file.metadata.string("general.name").is_some(), number == 0);
        for (read, planned) in file.tensors.iter().zip(&output.tensors[part.tensors.clone()]) {
            assert_eq!((read.offset, read.bytes, number), (planned.range.start, planned.bytes(), planned.part));
        }
        names.extend(file.tensors.into_iter().map(|tensor| tensor.name));
    }
    let expected = whole.outputs[0].tensors.iter().map(|tensor| tensor.name.clone());
    assert_eq!(names, expected.collect::<Vec<_>>());
}

#[test]
fn a_size_that_the_whole_file_has_is_enough() {
    let bytes = split(u64::MAX).expect("a plan").outputs[0].parts[0].bytes;
    assert_eq!(split(bytes).expect("a plan").outputs[0].parts.len(), 1);
    assert_eq!(split(bytes - 1).expect("a plan").outputs[0].parts.len(), 2);
}

#[test]
fn tensors_larger_than_a_part_are_told() {
    let header = split(u64::MAX).expect("a plan").outputs[0].parts[0].header.len() as u64;
    let error = split(header).expect_err("no room for tensors");
    assert!(matches!(error, PlanError::ShardTooSmall { .. }), "{error}");
    let plan = split(header + 600).expect("a plan");
    assert!(plan.outputs[0].warnings.iter().any(|warning| warning.contains("output.weight alone takes")));
}
