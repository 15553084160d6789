//! Weights that cannot be right end the run with their place, and leave nothing behind.

use crate::support::{Tiny, folder, names, quantize, stderr};

/// Runs on a file with this model; returns standard error.
fn refused(tiny: &Tiny, arguments: &[&str]) -> String {
    let dir = folder();
    let input = tiny.write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg(&input).args(arguments).arg("-o").arg(dir.path().join("out/")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let left = dir.path().join("out");
    assert!(!left.exists() || names(&left).is_empty(), "{:?}", names(&left));
    stderr(&output)
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let message = refused(&Tiny::new().set("blk.1.ffn_up.weight", 291, 17, value), &["--q4k", "--q8"]);
        for part in ["tiny.gguf", "blk.1.ffn_up.weight", "row 291", "column 17"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
}

#[test]
fn copied_tensors_are_checked_too() {
    let message = refused(&Tiny::new().set("output_norm.weight", 0, 9, f32::NAN), &["--q4k"]);
    assert!(message.contains("output_norm.weight"), "{message}");
    let message = refused(&Tiny::new().set("blk.0.ffn_up.weight", 5, 255, f32::INFINITY), &["-t", "COPY"]);
    assert!(message.contains("blk.0.ffn_up.weight") && message.contains("row 5"), "{message}");
}

#[test]
fn of_several_defects_the_first_is_named_whatever_the_threads() {
    let tiny = Tiny::new().set("blk.0.ffn_up.weight", 299, 0, f32::NAN).set("blk.1.attn_q.weight", 0, 0, f32::NAN);
    for threads in ["1", "2", "7"] {
        for _ in 0..5 {
            let message = refused(&tiny, &["--q4k", "--threads", threads, "--max-memory", "100KB"]);
            assert!(message.contains("blk.0.ffn_up.weight") && message.contains("row 299"), "{message}");
        }
    }
}

#[test]
fn a_scale_that_overflows_is_named() {
    // 2^40 / 127 is more than 65504, the largest f16.
    let tiny = Tiny::new().set("blk.1.attn_k.weight", 3, 70, 1.1e12);
    let message = refused(&tiny, &["--q8"]);
    for part in ["blk.1.attn_k.weight", "row 3", "block 2", "Q8_0"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let message = refused(&tiny, &["-t", "F16"]);
    assert!(message.contains("blk.1.attn_k.weight") && message.contains("F16"), "{message}");
}

#[test]
fn a_row_that_does_not_fit_the_memory_says_what_would() {
    let message = refused(&Tiny::new(), &["--q8", "--threads", "2", "--max-memory", "5000"]);
    // 512 columns, 8 bytes each, two threads
    for part in ["ffn_down", "8192", "--max-memory"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn what_is_declared_is_compared_with_what_is_there() {
    let message = refused(&Tiny::new().declare("llama.block_count", 3u32), &["--q4k"]);
    for part in ["tiny.gguf", "layers", "3"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn a_model_that_llama_cpp_does_not_know_is_noted() {
    let dir = folder();
    let input = Tiny::new().declare("general.architecture", "other").write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg(&input).args(["--q8", "--dry-run", "--json"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("other.block_count"), "{}", stderr(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let warning = document["outputs"][0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("other.block_count"), "{warning}");
}

#[cfg(target_os = "linux")]
#[test]
fn messages_that_nobody_can_read_do_not_end_the_run() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("quantize"));
    let status = command.arg(&input).args(["--q4k", "-v"]).current_dir(&dir).stderr(full).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(names(dir.path()), ["tiny-Q4_K_M.gguf", "tiny.gguf"]);
}

#[test]
fn no_more_threads_than_can_be_started() {
    let output = quantize().args(["x.gguf", "--q4k", "--threads", "100000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("1024"), "{}", stderr(&output));
}

#[test]
fn the_system_s_answer_is_given_once() {
    let message = refused(&Tiny::new(), &["--q4k", "--imatrix", "no-such-file"]);
    assert_eq!(message.matches("No such file").count(), 1, "{message}");
}
