//! Exit statuses, help, and what is wrong with arguments.

use crate::support::{Tiny, folder, names, quantize, stderr};

#[test]
fn wrong_arguments_have_status_2() {
    for arguments in [
        &["x.gguf", "--no-such-option"] as &[&str],
        &["x.gguf", "-t", "Q4_X"],
        &["x.gguf"],
        &["x.gguf", "--q4k", "-t", "Q4_K_M"],
        &["x.gguf", "--q4k", "--threads", "0"],
        &["x.gguf", "--q4k", "--max-memory", "much"],
        &["x.gguf", "--q4k", "-q", "-v"],
        &["x.gguf", "--q4k", "--keep-split", "--shard-size", "1GB"],
        &["x.gguf", "--q4k", "--tensor-type", "attn_v"],
        &["x.gguf", "--q4k", "--override-kv", "a=b"],
        &["x.gguf", "--q4k", "--include-weights", "attn"],
        &["--q4k"],
        &[],
        &["inspect"],
        &["completions", "cobol"],
    ] {
        let output = quantize().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn failures_have_status_1() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).output().unwrap();
    Tiny::new().write(&dir.path().join("tiny.gguf"));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for (arguments, part) in [
        (&["missing.gguf", "--q4k"] as &[&str], "missing.gguf"),
        (&["empty", "--q4k"], "no weights"),
        (&[".", "--q4k"], "tiny.gguf"),
        (&["tiny.gguf", "-t", "Q2_K_S"], "importance matrix"),
        (&["tiny.gguf", "--q4k", "--imatrix", "missing.dat"], "missing.dat"),
        (&["tiny.gguf", "--q4k", "--tensor-type-file", "missing.txt"], "missing.txt"),
        (&["inspect", "missing.gguf"], "missing.gguf"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(names(dir.path()), ["empty", "tiny.gguf"]);
}

#[test]
fn an_unknown_cpu_level_is_an_error() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg(&input).arg("--q8").env("QUANTIZE_SIMD", "mmx").current_dir(&dir).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mmx"), "{}", stderr(&output));
}

#[test]
fn no_type_says_which_there_are() {
    let output = quantize().arg("x.gguf").output().unwrap();
    let message = stderr(&output);
    assert!(message.contains("--q4k") && message.contains("Q5_K_S"), "{message}");
}

#[test]
fn every_spelling_of_a_type_is_a_flag() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    for recipe in weightmill::recipe::RECIPES {
        for flag in recipe.flags() {
            let output = quantize().arg(&input).args(["--dry-run", "--json", &format!("--{flag}")]).output().unwrap();
            assert!(output.status.success(), "--{flag}: {}", stderr(&output));
            let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(document["outputs"][0]["type"], recipe.name, "--{flag}");
        }
        if recipe.description.ends_with("needs an importance matrix") {
            let output = quantize().current_dir(&dir).arg(&input).args(["-t", recipe.name]).output().unwrap();
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{}: {message}", recipe.name);
            assert!(message.contains(&format!("{} needs an importance matrix", recipe.name)), "{message}");
        }
    }
}

#[test]
fn embeddings_in_a_type_that_cannot_do_without_importance_need_it() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    for option in ["--token-embedding-type", "--output-tensor-type"] {
        let output = quantize().current_dir(&dir).arg(&input).args(["--q4k", option, "IQ2_XXS"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{option}");
        assert!(stderr(&output).contains("importance matrix"), "{option}: {}", stderr(&output));
    }
}

#[test]
fn types_keep_the_order_of_the_command_line() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let arguments = ["--q8", "-t", "Q6_K,Q4_K_M", "--f16", "-t", "q5_k_m", "--dry-run", "--json"];
    let output = quantize().arg(&input).args(arguments).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let types: Vec<&str> =
        document["outputs"].as_array().unwrap().iter().map(|o| o["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["Q8_0", "Q6_K", "Q4_K_M", "F16", "Q5_K_M"]);
}

#[test]
fn help_lists_every_type() {
    let output = quantize().arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for recipe in weightmill::recipe::RECIPES.iter() {
        assert!(help.contains(recipe.description), "{} is not in:\n{help}", recipe.name);
    }
    assert!(help.contains("Examples") && help.contains("inspect"));
}

#[test]
fn a_file_named_like_a_command_is_an_input() {
    let dir = folder();
    Tiny::new().write(&dir.path().join("inspect"));
    quantize().current_dir(&dir).args(["./inspect", "--q8"]).assert().success();
    assert_eq!(names(dir.path()), ["inspect", "inspect-Q8_0.gguf"]);
}

#[test]
fn completions_know_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = quantize().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("max-memory"), "{shell}");
    }
}
