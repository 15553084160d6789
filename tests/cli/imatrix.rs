//! `quantize imatrix`, and what becomes of gaps in an importance matrix when it is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value as Json, json};
use weightmill_formats::Imatrix;
use weightmill_formats::imatrix::{Entry, Form, open};

use crate::support::{Tiny, assert_refused, folder, names, quantize, sha256, stderr};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// An importance matrix of tiny-llama in both forms, by the fixtures' script.
fn tiny_imatrix(form: &str) -> PathBuf {
    fixture("tests/fixtures/tiny-imatrix/imatrix").with_extension(form)
}

fn imatrix(dir: &Path, arguments: &[&str]) -> Output {
    quantize().current_dir(dir).arg("imatrix").args(arguments).output().unwrap()
}

fn document(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

#[test]
fn converts_between_the_forms() {
    let dir = folder();
    let (gguf, dat) = (tiny_imatrix("gguf"), tiny_imatrix("dat"));
    let run = imatrix(dir.path(), &[gguf.to_str().unwrap(), "-o", "m.dat"]);
    assert!(run.status.success() && run.stdout.is_empty(), "{run:?}");
    assert_eq!(sha256(&dir.path().join("m.dat")), sha256(&dat));
    let run = imatrix(dir.path(), &["m.dat", "-o", "again.DAT"]);
    assert!(run.status.success());
    assert_eq!(sha256(&dir.path().join("again.DAT")), sha256(&dat));
    // Three calls are three chunks of 512 tokens, as the other form says.
    let run = imatrix(dir.path(), &["m.dat", "-o", "m.gguf"]);
    assert!(stderr(&run).contains("512 tokens"), "{}", stderr(&run));
    let run = imatrix(dir.path(), &[gguf.to_str().unwrap(), "-o", "m2.gguf"]);
    assert!(run.status.success());
    assert_eq!(sha256(&dir.path().join("m.gguf")), sha256(&dir.path().join("m2.gguf")));
    let matrix = open(&dir.path().join("m.gguf")).unwrap();
    assert_eq!(matrix.clone().into_importance().entries, open(&dat).unwrap().into_importance().entries);
    assert_eq!((matrix.chunks, matrix.chunk_size), (3, Some(512)));

    let run = imatrix(dir.path(), &["m.dat", "-o", "m.gguf", "--chunk-size", "1024"]);
    assert_refused(&run, &["m.gguf", "--force"]);
    let run = imatrix(dir.path(), &["m.dat", "-o", "m.gguf", "--chunk-size", "1024", "--force"]);
    assert!(run.status.success());
    let longer = open(&dir.path().join("m.gguf")).unwrap();
    assert_eq!((longer.chunk_size, &*longer.entries["blk.0.attn_q.weight"].counts), (Some(1024), &[3072][..]));
    assert_eq!(names(dir.path()), ["again.DAT", "m.dat", "m.gguf", "m2.gguf"]);
}

#[test]
fn adds_up_files_of_both_forms() {
    let dir = folder();
    let (gguf, dat) = (tiny_imatrix("gguf"), tiny_imatrix("dat"));
    let run = imatrix(dir.path(), &[gguf.to_str().unwrap(), dat.to_str().unwrap(), "-o", "both.gguf", "--json"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let document = document(&run);
    assert_eq!((&document["chunks"], &document["chunk_size"]), (&json!(6), &json!(512)));
    assert_eq!(document["datasets"], json!(["calibration/text.txt", "calibration/text.txt"]));
    assert_eq!(document["output"]["bytes"], json!(fs::metadata(dir.path().join("both.gguf")).unwrap().len()));
    assert_eq!(document["tensors"][0]["counts"], json!([3072, 3072]));
    assert!(document["warnings"][0].as_str().unwrap().contains("more than once"), "{}", document["warnings"]);
    // Twice the same: sums double exactly, means stay.
    let (one, both) = (open(&gguf).unwrap(), open(&dir.path().join("both.gguf")).unwrap());
    assert_eq!(one.into_importance().entries, both.into_importance().entries);
}

#[test]
fn says_what_is_in_a_file_and_fits_a_model() {
    let dir = folder();
    let (matrix, model) = (tiny_imatrix("gguf"), fixture("tests/fixtures/tiny-llama"));
    let arguments = [matrix.to_str().unwrap(), "--model", model.to_str().unwrap(), "--strict"];
    let run = imatrix(dir.path(), &arguments);
    assert!(run.status.success(), "{}", stderr(&run));
    let text = String::from_utf8(run.stdout).unwrap();
    for part in ["14 tensors, 3 chunks of 512 tokens, texts: calibration/text.txt", "entropy", "blk.1.ffn_down.weight"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let found = document(&imatrix(dir.path(), &[&arguments[..], &["--json"]].concat()));
    let nothing = json!({"unknown": [], "sizes": [], "without": []});
    assert_eq!(found["coverage"], json!({"unseen": [], "zero": [], "bad": [], "model": nothing}));
    assert_eq!(found["output"], Json::Null);
    // Of 256 values none is negative; the sum by the file's own numbers.
    let entry = &open(&matrix).unwrap().entries["blk.0.attn_k.weight"];
    let sum: f64 = entry.sums.iter().map(|sum| f64::from(*sum) / 1536.0).sum();
    let figures = &found["tensors"][0];
    assert_eq!((&figures["name"], &figures["values"]), (&json!("blk.0.attn_k.weight"), &json!(256)));
    assert!((figures["sum"].as_f64().unwrap() - sum).abs() < 1e-9 * sum, "{figures}");
    // With a block before it there is something to compare with.
    let similar = |at: usize| &found["tensors"][at]["similarity"];
    assert!(similar(0).is_null() && similar(7).as_f64().is_some_and(|cosine| (0.0..=1.0).contains(&cosine)), "{found}");
}

#[test]
fn says_what_is_missing_or_cannot_be() {
    let dir = folder();
    // Reference fixture with an expert that saw nothing.
    let experts = fixture("formats/tests/fixtures/imatrix.gguf");
    let experts = experts.to_str().unwrap();
    let run = imatrix(dir.path(), &[experts]);
    assert!(run.status.success());
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("no token came to: blk.0.ffn_up_exps.weight (experts 1 of 4)"), "{text}");
    let run = imatrix(dir.path(), &[experts, "--strict", "-o", "m.gguf"]);
    assert_refused(&run, &["m.gguf", "blk.0.ffn_up_exps.weight"]);

    let model = fixture("tests/fixtures/tiny-llama");
    let run = imatrix(dir.path(), &[experts, "--model", model.to_str().unwrap(), "-o", "m.gguf", "--json"]);
    assert_eq!(run.status.code(), Some(1));
    let found = document(&run);
    let model = &found["coverage"]["model"];
    assert_eq!(model["unknown"], json!(["blk.0.ffn_up_exps.weight"]));
    assert_eq!(model["sizes"], json!([{"tensor": "blk.1.ffn_down.weight", "values": 8, "expected": 256}]));
    assert_eq!(model["without"].as_array().unwrap().len(), 13);
    assert_eq!(names(dir.path()), [""; 0]);

    let mut matrix = complete();
    matrix.entries["blk.0.attn_q.weight"].sums[7] = f32::NAN;
    matrix.entries["blk.1.ffn_up.weight"].sums[9] = -1.0;
    matrix.entries["blk.1.attn_k.weight"].sums.fill(0.0);
    write(&matrix, &dir.path().join("bad.gguf"));
    let run = imatrix(dir.path(), &["bad.gguf", "-o", "m.gguf"]);
    assert_refused(&run, &["not finite: blk.0.attn_q.weight, blk.1.ffn_up.weight", "throughout: blk.1.attn_k.weight"]);
    let found = document(&imatrix(dir.path(), &["bad.gguf", "--json"]));
    assert_eq!(found["coverage"]["bad"][0], json!({"tensor": "blk.0.attn_q.weight", "matrices": [0], "of": 1}));
    assert_eq!(names(dir.path()), ["bad.gguf"]);
}

#[test]
fn arguments_that_cannot_be() {
    let dir = folder();
    assert_eq!(imatrix(dir.path(), &[]).status.code(), Some(2));
    assert_eq!(imatrix(dir.path(), &["x.dat", "--chunk-size", "0"]).status.code(), Some(2));
    assert_refused(&imatrix(dir.path(), &["x.dat"]), &["x.dat"]);
    let two = [tiny_imatrix("gguf"), fixture("formats/tests/fixtures/imatrix.gguf")];
    let run = imatrix(dir.path(), &[two[0].to_str().unwrap(), two[1].to_str().unwrap()]);
    assert_refused(&run, &["formats/tests/fixtures/imatrix.gguf", "blk.1.ffn_down.weight", "another model"]);
}

/// Importance for every matrix in the blocks of [`Tiny`]: some columns count more than others.
fn complete() -> Imatrix {
    let mut matrix = Imatrix { chunks: 1, chunk_size: Some(512), datasets: vec!["t".to_owned()], ..Imatrix::default() };
    for block in 0..2 {
        for (name, columns) in [("attn_q", 256), ("attn_k", 256), ("attn_v", 256), ("ffn_up", 256), ("ffn_down", 512)] {
            let sums = (0..columns).map(|column| (column % 7 + 1) as f32 * 512.0).collect();
            matrix.entries.insert(format!("blk.{block}.{name}.weight"), Entry { sums, counts: vec![512] });
        }
    }
    matrix
}

fn write(matrix: &Imatrix, path: &Path) {
    matrix.write(path, Form::Gguf, true).unwrap();
}

/// Quantizes with a matrix; the report, and the digest of the tensors' bytes.
fn used(dir: &Path, matrix: &Imatrix, arguments: &[&str]) -> (Output, Option<String>) {
    write(matrix, &dir.join("m.gguf"));
    Tiny::new().write(&dir.join("tiny.gguf"));
    let fixed = ["tiny.gguf", "--imatrix", "m.gguf", "-o", "out.gguf", "--force", "--json"];
    let run = quantize().current_dir(dir).args(fixed).args(arguments).output().unwrap();
    let digest = run.status.success().then(|| sha256(&dir.join("out.gguf")));
    let _ = fs::remove_file(dir.join("out.gguf"));
    (run, digest)
}

fn tensor<'a>(document: &'a Json, name: &str) -> &'a Json {
    document["outputs"][0]["tensors"].as_array().unwrap().iter().find(|tensor| tensor["name"] == name).unwrap()
}

#[test]
fn a_gap_counts_every_column_the_same_and_is_reported() {
    let dir = folder();
    let mut equal = complete();
    equal.entries["blk.0.ffn_up.weight"].sums.fill(512.0);
    let (_, expected) = used(dir.path(), &equal, &["--q4k"]);
    let (_, weighed) = used(dir.path(), &complete(), &["--q4k"]);
    assert_ne!(expected, weighed);
    let gaps: [fn(&mut Entry); 3] =
        [|entry| entry.counts[0] = 0, |entry| entry.sums[3] = f32::NAN, |entry| entry.sums[200] = -0.5];
    for gap in gaps {
        let mut matrix = complete();
        gap(&mut matrix.entries["blk.0.ffn_up.weight"]);
        let (run, digest) = used(dir.path(), &matrix, &["--q4k"]);
        assert_eq!(digest, expected);
        assert!(stderr(&run).contains("blk.0.ffn_up.weight"), "{}", stderr(&run));
        let document = document(&run);
        assert_eq!(tensor(&document, "blk.0.ffn_up.weight")["importance"], "none");
        assert_eq!(tensor(&document, "blk.1.ffn_up.weight")["importance"], "measured");
        assert_eq!(tensor(&document, "output.weight")["importance"], "none");
        assert_eq!(tensor(&document, "output_norm.weight").get("importance"), None);
        let (run, _) = used(dir.path(), &matrix, &["--q4k", "--strict-imatrix"]);
        assert_refused(&run, &["--strict-imatrix", "blk.0.ffn_up.weight"]);
    }
    // Nothing missing but embeddings and output, which are never measured.
    let (run, digest) = used(dir.path(), &complete(), &["--q4k", "--strict-imatrix"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(digest, weighed);
}

#[test]
fn a_tensor_without_importance_or_with_zeros_is_named() {
    let dir = folder();
    let mut matrix = complete();
    matrix.entries.shift_remove("blk.1.attn_v.weight");
    matrix.entries["blk.0.ffn_down.weight"].sums.fill(0.0);
    let (run, _) = used(dir.path(), &matrix, &["--q4k"]);
    let told = document(&run);
    let warnings = told["outputs"][0]["warnings"].to_string();
    assert!(warnings.contains("nothing for 3 tensors") && warnings.contains("blk.1.attn_v.weight"), "{warnings}");
    assert!(warnings.contains("zero throughout in parts of 1 tensor"), "{warnings}");
    assert_eq!(tensor(&told, "blk.1.attn_v.weight")["importance"], "none");
    assert_eq!(tensor(&told, "blk.0.ffn_down.weight")["importance"], "none");
    let (run, _) = used(dir.path(), &matrix, &["--q4k", "--strict-imatrix"]);
    assert_refused(&run, &["blk.1.attn_v.weight", "blk.0.ffn_down.weight"]);
    // What the user leaves out is no gap; a type that importance does not change needs none.
    let exclude = ["--exclude-weights", "blk.1.attn_v", "--exclude-weights", "blk.0.ffn_down"];
    let (run, _) = used(dir.path(), &matrix, &[&["--q4k", "--strict-imatrix"], &exclude[..]].concat());
    assert!(run.status.success(), "{}", stderr(&run));
    let (run, _) = used(dir.path(), &matrix, &["--q8", "--strict-imatrix"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(tensor(&document(&run), "blk.1.attn_v.weight").get("importance"), None);
}

/// llama-quantize stops at such a block: "found nan".
#[test]
fn importance_too_large_for_a_block_is_not_used_there() {
    let dir = folder();
    let mut matrix = complete();
    // In one super-block of two 1e37 times what is usual.
    let entry = &mut matrix.entries["blk.0.ffn_down.weight"];
    entry.sums[256..].iter_mut().for_each(|sum| *sum = *sum / 512.0 * 1e37);
    entry.counts[0] = 1;
    let (run, digest) = used(dir.path(), &matrix, &["--pure", "-t", "Q4_K_S", "--threads", "1"]);
    let told = document(&run);
    assert_eq!(told["repairs"][0]["tensor"], "blk.0.ffn_down.weight", "{}", stderr(&run));
    assert_eq!(told["repairs"][0]["type"], "Q4_K");
    assert!(stderr(&run).contains("cannot be written with their importance"), "{}", stderr(&run));
    for more in [&["--threads", "2"] as &[&str], &["--threads", "1", "--max-memory", "8KiB"]] {
        let (again, other) = used(dir.path(), &matrix, &[&["--pure", "-t", "Q4_K_S"], more].concat());
        assert_eq!((other, &document(&again)["repairs"]), (digest.clone(), &told["repairs"]), "{}", stderr(&again));
    }
    let (run, _) = used(dir.path(), &matrix, &["--pure", "-t", "Q4_K_S", "--strict-imatrix"]);
    assert_refused(&run, &["blk.0.ffn_down.weight", "block 1"]);
}

/// Tensors, types and bytes of a forecast without a matrix are those of the run with one.
#[test]
fn a_forecast_does_without_the_matrix_that_a_run_needs() {
    let dir = folder();
    let types = "IQ1_S,IQ2_XXS,IQ2_M,IQ3_XS,IQ3_XXS,Q2_K_S,Q4_K_M";
    Tiny::new().write(&dir.path().join("tiny.gguf"));
    write(&complete(), &dir.path().join("m.gguf"));
    let forecast = |arguments: &[&str]| {
        let mut command = quantize();
        let run =
            command.current_dir(dir.path()).args(["tiny.gguf", "-t", types, "--dry-run", "--json"]).args(arguments);
        let run = run.output().unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
        document(&run)
    };
    let (without, with) = (forecast(&[]), forecast(&["--imatrix", "m.gguf"]));
    for (without, with) in without["outputs"].as_array().unwrap().iter().zip(with["outputs"].as_array().unwrap()) {
        let facts = |output: &Json| -> Vec<(Json, Json, Json)> {
            let tensors = output["tensors"].as_array().unwrap().iter();
            tensors.map(|tensor| (tensor["name"].clone(), tensor["to"].clone(), tensor["bytes"].clone())).collect()
        };
        assert_eq!(facts(without), facts(with), "{}", with["type"]);
        let told = without["warnings"].to_string().contains("needs an importance matrix");
        assert_eq!(told, without["type"] != "Q4_K_M", "{}", without["warnings"]);
        assert_eq!(without.get("assumes_importance"), told.then_some(&Json::Bool(true)));
        assert_eq!(with.get("assumes_importance"), None);
    }
    let run = quantize().current_dir(dir.path()).args(["tiny.gguf", "-t", types]).output().unwrap();
    assert_refused(&run, &["needs an importance matrix"]);
    assert_eq!(names(dir.path()), ["m.gguf", "tiny.gguf"]);
}
