//! Where outputs go, what they may replace, and what is said about them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Tiny, folder, names, quantize, sha256, stderr};

#[test]
fn names_come_from_the_input() {
    let dir = folder();
    for (file, output) in
        [("a-BF16.gguf", "a-Q8_0.gguf"), ("b-f32.gguf", "b-Q8_0.gguf"), ("c.v1-Q5.gguf", "c.v1-Q5-Q8_0.gguf")]
    {
        Tiny::new().write(&dir.path().join(file));
        quantize().current_dir(&dir).args([file, "--q8"]).assert().success();
        assert!(dir.path().join(output).exists(), "{file}: {:?}", names(dir.path()));
    }
}

#[test]
fn a_checkpoint_is_named_after_its_folder_also_from_inside() {
    let dir = folder();
    let model = dir.path().join("My-Model");
    fs::create_dir(&model).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");
    for name in names(fixture.as_ref()) {
        fs::copy(format!("{fixture}/{name}"), model.join(name)).unwrap();
    }
    quantize().current_dir(&model).args([".", "--q8", "-o", "../"]).assert().success();
    assert!(dir.path().join("My-Model-Q8_0.gguf").exists(), "{:?}", names(dir.path()));
    quantize().current_dir(&dir).args(["My-Model/model.safetensors", "--q8"]).assert().success();
    assert_eq!(sha256(&dir.path().join("model-Q8_0.gguf")), sha256(&dir.path().join("My-Model-Q8_0.gguf")));
}

#[test]
fn an_output_is_a_file_or_a_folder() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let run = |arguments: &[&str]| quantize().current_dir(&dir).arg(&input).args(arguments).assert();
    run(&["--q8", "-o", "x.gguf"]).success();
    run(&["--q8", "-o", "one/"]).success();
    run(&["--q8", "--q4k", "-o", "two"]).success();
    assert_eq!(names(dir.path()), ["one", "tiny.gguf", "two", "x.gguf"]);
    assert_eq!(names(&dir.path().join("one")), ["tiny-Q8_0.gguf"]);
    assert_eq!(names(&dir.path().join("two")), ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]);
    run(&["--q8", "--q4k", "-o", "y.gguf"]).code(2);
    run(&["--q8", "-o", "new/folder/y.gguf"]).success();
    assert_eq!(names(&dir.path().join("new/folder")), ["y.gguf"]);
    assert_eq!(names(dir.path()), ["new", "one", "tiny.gguf", "two", "x.gguf"]);
}

#[test]
fn folders_that_were_made_go_again_when_the_run_fails() {
    let dir = folder();
    let broken = Tiny::new().set("output.weight", 3, 5, f32::NAN).write(&dir.path().join("broken.gguf"));
    let run = |output: &str| {
        quantize().current_dir(&dir).arg(&broken).args(["--q8", "-o", output]).assert().code(1);
    };
    run("a/b/c/");
    run("x/y.gguf");
    assert_eq!(names(dir.path()), ["broken.gguf"]);
    // What was there stays, empty or not, and so does what somebody else put into a new folder.
    fs::create_dir_all(dir.path().join("old/inner")).unwrap();
    run("old/inner/new/");
    run("old/inner/");
    assert_eq!(names(&dir.path().join("old")), ["inner"]);
    assert_eq!(names(&dir.path().join("old/inner")), [""; 0]);
}

#[test]
fn names_of_tensors_do_not_steer_the_terminal() {
    let dir = folder();
    let name = "blk.0.\x1b]0;title\x07\nerror: forged\r\u{202e}.weight";
    let input = Tiny::new().rename("blk.0.ffn_up.weight", name).write(&dir.path().join("tiny.gguf"));
    let escaped = name.escape_debug().to_string();
    let run = |input: &Path, arguments: &[&str]| {
        let output = quantize().current_dir(&dir).arg(input).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'), "{arguments:?}");
        String::from_utf8(text).unwrap()
    };
    for arguments in [&["--q8", "--dry-run"] as &[&str], &["--q8", "-v"], &["-t", "Q4_K_M", "--prune-layers", "7"]] {
        let text = run(&input, arguments);
        assert!(!text.contains("\nerror: forged"), "{text}");
    }
    assert!(run(&input, &["--q8", "--dry-run"]).contains(&escaped));
    let broken = Tiny::new().rename("blk.0.ffn_up.weight", name).set(name, 0, 0, f32::NAN);
    let broken = broken.write(&dir.path().join("broken.gguf"));
    assert!(run(&broken, &["--q8"]).contains(&escaped));
    // 5000 bytes are too few for the longest row.
    let long = Tiny::new().rename("blk.0.ffn_down.weight", name).rename("blk.1.ffn_down.weight", "blk.1.x.weight");
    let long = long.write(&dir.path().join("long.gguf"));
    let message = run(&long, &["--q8", "--threads", "1", "--max-memory", "3000", "--force"]);
    assert!(message.contains(&escaped), "{message}");
    let quantized = dir.path().join("tiny-Q8_0.gguf");
    let message = run(&quantized, &["-t", "Q4_K_M"]);
    assert!(message.contains("already quantized") && !message.contains("\nerror: forged"), "{message}");
}

#[test]
fn an_existing_output_needs_force() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = dir.path().join("out.gguf");
    fs::write(&output, "mine").unwrap();
    let refused = quantize().arg(&input).args(["--q8", "-o"]).arg(&output).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let message = stderr(&refused);
    assert!(message.contains("out.gguf") && message.contains("--force"), "{message}");
    assert_eq!(fs::read(&output).unwrap(), b"mine");
    quantize().arg(&input).args(["--q8", "--force", "-o"]).arg(&output).assert().success();
    assert_ne!(fs::read(&output).unwrap(), b"mine");
    assert_eq!(names(dir.path()), ["out.gguf", "tiny.gguf"]);
}

#[test]
fn one_existing_output_of_several_stops_all() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    fs::write(dir.path().join("tiny-Q8_0.gguf"), "mine").unwrap();
    quantize().arg(&input).args(["--q4k", "--q8", "-o"]).arg(dir.path()).assert().code(1);
    assert_eq!(names(dir.path()), ["tiny-Q8_0.gguf", "tiny.gguf"]);
}

#[test]
fn the_input_is_never_replaced() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let before = sha256(&input);
    let refused = quantize().arg(&input).args(["--q8", "--force", "-o"]).arg(&input).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("both input and output"), "{}", stderr(&refused));
    assert_eq!(sha256(&input), before);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_input_is_never_replaced_either() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    std::os::unix::fs::symlink(&input, dir.path().join("link.gguf")).unwrap();
    quantize().arg(&input).args(["--q8", "--force", "-o"]).arg(dir.path().join("link.gguf")).assert().code(1);
    assert!(dir.path().join("link.gguf").is_symlink());
}

#[test]
fn a_dry_run_writes_nothing_and_forecasts_the_run() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let run = |extra: &[&str]| -> Value {
        let mut command = quantize();
        let output =
            command.current_dir(&dir).arg(&input).args(["--q4k", "--q8", "--json"]).args(extra).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("exactly one JSON document")
    };
    let mut forecast = run(&["--dry-run"]);
    assert_eq!(names(dir.path()), ["tiny.gguf"]);
    let mut measured = run(&[]);
    assert!(measured["seconds"].as_f64().unwrap() > 0.0);
    for (index, name) in ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"].into_iter().enumerate() {
        let bytes = fs::metadata(dir.path().join(name)).unwrap().len();
        assert_eq!(measured["outputs"][index]["bytes"].as_u64(), Some(bytes));
        assert_eq!(measured["outputs"][index]["path"].as_str(), Some(name));
    }
    for document in [&mut forecast, &mut measured] {
        let document = document.as_object_mut().unwrap();
        assert!(document.remove("seconds").is_some() && document.remove("memory_bytes").is_some());
        let preflight = document["preflight"].as_object_mut().unwrap();
        assert!(preflight.remove("forecast_seconds").is_some_and(|seconds| seconds.as_f64().unwrap() > 0.0));
        assert!(preflight["disk"].as_object_mut().unwrap().remove("free").is_some());
    }
    assert_eq!(forecast, measured);
}

#[test]
fn a_dry_run_prints_every_tensor() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg(&input).args(["--q4k", "--dry-run"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    for part in ["blk.1.ffn_down.weight", "Q6_K", "Q4_K", "256", "bits per weight"] {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
}

#[test]
fn quiet_says_nothing_and_otherwise_only_standard_error_does() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    quantize()
        .arg(&input)
        .args(["--q8", "-q", "-o"])
        .arg(dir.path().join("a.gguf"))
        .assert()
        .success()
        .stdout("")
        .stderr("");
    let loud = quantize().arg(&input).args(["--q8", "-o"]).arg(dir.path().join("b.gguf")).output().unwrap();
    assert!(loud.stdout.is_empty());
    assert!(stderr(&loud).contains("b.gguf"), "{}", stderr(&loud));
}

#[test]
fn an_option_without_effect_is_said_to_be_one() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().current_dir(&dir).arg(&input).args(["--q8", "--keep-split"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("--keep-split"), "{}", stderr(&output));
    let output = quantize().current_dir(&dir).arg(&input).args(["--q4k", "--tensor-type", "nothing=Q8_0"]).output();
    assert!(stderr(&output.unwrap()).contains("nothing"));
}

#[test]
fn overrides_reach_the_file() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = dir.path().join("out.gguf");
    let overrides = ["--override-kv", "general.name=str:Other", "--override-kv", "test.number=int:7"];
    quantize().arg(&input).args(["--q8", "-o"]).arg(&output).args(overrides).assert().success();
    let source = weightmill_formats::open(&output).unwrap();
    assert_eq!(source.metadata().string("general.name"), Some("Other"));
    assert_eq!(source.metadata().unsigned("test.number"), Some(7));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere but into /proc.
    let folder = if fs::write(closed.join("probe"), "").is_ok() { Path::new("/proc") } else { closed.as_path() };
    let refused = quantize().arg(&input).args(["--q8", "-o"]).arg(folder.join("out.gguf")).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains(folder.to_str().unwrap()), "{}", stderr(&refused));
}
