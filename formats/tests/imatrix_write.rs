//! Writing importance matrices of both forms, and adding them up.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weightmill_formats::imatrix::{self, Entry, Form, Imatrix, Merger, Statistics, similarity};
use weightmill_formats::{Error, Kind};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Imatrix {
    imatrix::open(&fixture(name)).unwrap()
}

fn written(matrix: &Imatrix, form: Form) -> Result<Vec<u8>, Error> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m");
    let result = matrix.write(&path, form, false);
    assert_eq!(path.exists(), result.is_ok());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), usize::from(result.is_ok()));
    result.map(|()| fs::read(&path).unwrap())
}

/// One entry of the form that counts tokens.
fn one(name: &str, sums: &[f32], counts: &[u64]) -> Imatrix {
    let entry = Entry { sums: sums.to_vec(), counts: counts.to_vec() };
    Imatrix { entries: [(name.to_owned(), entry)].into(), chunk_size: Some(512), ..Imatrix::default() }
}

/// The files of fixtures/make.py, made by llama.cpp's code or its rules.
#[test]
fn bytes_are_the_references() {
    for form in [Form::Gguf, Form::Dat] {
        let golden =
            fs::read(fixture(if form == Form::Gguf { "imatrix-ggml.gguf" } else { "imatrix-ggml.dat" })).unwrap();
        assert_eq!(written(&open("imatrix.gguf"), form).unwrap(), golden);
        assert_eq!(written(&open("imatrix-ggml.gguf"), form).unwrap(), golden);
    }
}

/// Values of the older form are products of a division: another would round them again.
#[test]
fn older_form_again_is_the_same() {
    let golden = fs::read(fixture("imatrix-ggml.dat")).unwrap();
    assert_eq!(written(&open("imatrix-ggml.dat"), Form::Dat).unwrap(), golden);
}

#[test]
fn older_form_becomes_gguf_of_chunks_of_512() {
    let bytes = written(&open("imatrix-ggml.dat"), Form::Gguf).unwrap();
    let matrix = imatrix::parse(&bytes, Path::new("m.gguf")).unwrap();
    assert_eq!((matrix.chunk_size, matrix.chunks, &*matrix.datasets), (Some(512), 12, &["second.txt".to_owned()][..]));
    // 6144 tokens are 12 chunks; 300 are less than one, which counts as one.
    assert_eq!(matrix.entries["blk.1.ffn_down.weight"].counts, [6144]);
    assert_eq!(matrix.entries["blk.0.ffn_up_exps.weight"].counts, [512]);
    // Multiplying by a power of two is exact.
    assert_eq!(matrix.into_importance().entries, open("imatrix-ggml.dat").into_importance().entries);
}

#[test]
fn older_form_leaves_out_what_saw_nothing() {
    let mut matrix = one("seen", &[1.0, 2.0], &[1]);
    matrix.entries.extend(one("unseen", &[0.0, 0.0], &[0]).entries);
    let again = imatrix::parse(&written(&matrix, Form::Dat).unwrap(), Path::new("m.dat")).unwrap();
    assert_eq!(again.entries.keys().collect::<Vec<_>>(), ["seen"]);
    let error = written(&one("unseen", &[0.0], &[0]), Form::Dat).unwrap_err();
    assert!(matches!(error.kind(), Kind::Incomplete { what: "entries" }), "{error}");
}

#[test]
fn what_a_form_cannot_hold_is_refused() {
    let many = one("x", &[1.0], &[1 << 50]);
    let error = written(&many, Form::Dat).unwrap_err();
    assert!(matches!(error.kind(), Kind::Limit { what: "the number of calls", .. }), "{error}");
    assert!(written(&many, Form::Gguf).is_ok());
    let long = one(&"x".repeat(56), &[1.0], &[1]);
    let error = written(&long, Form::Gguf).unwrap_err();
    assert!(matches!(error.kind(), Kind::TooLong { length: 56, limit: 55, .. }), "{error}");
    let error = written(&one("x", &[1.0; 3], &[1, 1]), Form::Gguf).unwrap_err();
    assert!(matches!(error.kind(), Kind::Counts { sums: 3, counts: 2 }), "{error}");
}

fn merged(matrices: impl IntoIterator<Item = Imatrix>) -> Imatrix {
    let mut merger = Merger::new(None);
    matrices.into_iter().for_each(|matrix| merger.add(matrix).unwrap());
    merger.finish().unwrap()
}

#[test]
fn sums_counts_and_chunks_add_up() {
    let first = Imatrix { chunks: 2, datasets: vec!["a".to_owned()], ..one("x", &[1.0, 2.0, 0.0, 0.0], &[1024, 0]) };
    let mut second =
        Imatrix { chunks: 3, datasets: vec!["b".to_owned()], ..one("x", &[0.5, 0.25, 8.0, 4.0], &[512, 100]) };
    second.entries.extend(one("y", &[3.0], &[7]).entries);
    let sum = merged([first, second]);
    assert_eq!(sum.entries["x"], Entry { sums: vec![1.5, 2.25, 8.0, 4.0], counts: vec![1536, 100] });
    assert_eq!(sum.entries["y"], Entry { sums: vec![3.0], counts: vec![7] });
    assert_eq!((sum.chunks, sum.chunk_size, sum.datasets), (5, Some(512), vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn both_forms_add_up_in_tokens() {
    let gguf = Imatrix { chunks: 2, chunk_size: Some(256), ..one("x", &[1.0, 2.0, 3.0, 4.0], &[512, 100]) };
    let dat = Imatrix { chunks: 3, chunk_size: None, ..one("x", &[1.0, 1.0, 1.0, 1.0], &[3]) };
    for order in [[gguf.clone(), dat.clone()], [dat.clone(), gguf]] {
        let sum = merged(order);
        // Three chunks of 256 tokens; the one count holds for both experts.
        assert_eq!(sum.entries["x"], Entry { sums: vec![257.0, 258.0, 259.0, 260.0], counts: vec![1280, 868] });
        assert_eq!((sum.chunks, sum.chunk_size), (5, Some(256)));
    }
    let sum = merged([dat.clone(), dat.clone()]);
    assert_eq!((sum.chunks, sum.chunk_size, &*sum.entries["x"].counts), (6, None, &[6][..]));
    let mut merger = Merger::new(Some(64));
    merger.add(dat).unwrap();
    assert_eq!(merger.finish().unwrap().entries["x"], Entry { sums: vec![64.0; 4], counts: vec![192] });
}

#[test]
fn chunks_of_other_length_are_counted_anew() {
    let matrix = |chunks, chunk_size| Imatrix { chunks, chunk_size: Some(chunk_size), ..one("x", &[1.0], &[1024]) };
    let sum = merged([matrix(2, 512), matrix(4, 256)]);
    assert_eq!((sum.chunks, sum.chunk_size), (4, Some(512)));
}

#[test]
fn matrices_of_two_models_do_not_add_up() {
    let mut merger = Merger::new(None);
    merger.add(one("x", &[1.0, 2.0], &[1])).unwrap();
    let error = merger.add(one("x", &[1.0], &[1])).unwrap_err();
    assert_eq!((error.found, error.expected), (1, 2));
    let mut merger = Merger::new(None);
    merger.add(one("x", &[1.0; 6], &[1, 1])).unwrap();
    assert!(merger.add(one("x", &[1.0; 6], &[1, 1, 1])).is_err());
    assert_eq!(merger.finish().unwrap(), one("x", &[1.0; 6], &[1, 1]));
}

#[test]
fn statistics_of_what_was_seen() {
    // Means 0, 2, 4, 6 and an expert without tokens, worked out by hand.
    let entry = Entry { sums: vec![0.0, 4.0, 9.0, 9.0, 4.0, 6.0], counts: vec![2, 0, 1] };
    let found = Statistics::of(&entry);
    assert_eq!((found.values, found.matrices, found.unseen, found.counts), (4, 3, 1, (0, 2)));
    assert_eq!((found.sum, found.min, found.max, found.mean, found.zeros), (12.0, 0.0, 6.0, 3.0, 0.25));
    // (9 + 1 + 1 + 9) / 3; shares 1/6, 1/3, 1/2; two of four are 3 away.
    assert!((found.deviation - (20.0f64 / 3.0).sqrt()).abs() < 1e-12);
    let entropy = 6.0f64.log2() / 6.0 + 3.0f64.log2() / 3.0 + 0.5;
    assert!((found.entropy - entropy).abs() < 1e-12, "{}", found.entropy);
    assert_eq!((found.outliers, found.non_finite, found.negative), (0.5, 0, 0));

    let bad = Statistics::of(&Entry { sums: vec![f32::NAN, f32::INFINITY, -1.0, 3.0], counts: vec![1] });
    assert_eq!((bad.values, bad.non_finite, bad.negative, bad.min, bad.max), (2, 2, 1, -1.0, 3.0));
    let other = Entry { sums: vec![4.0, 0.0, 1.0, 1.0, 0.0, 12.0], counts: vec![2, 0, 3] };
    // (0, 2, 0, 0, 4, 6) and (2, 0, 0, 0, 0, 4): 24 / (sqrt 56 * sqrt 20).
    let cosine = similarity(&entry, &other).unwrap();
    assert!((cosine - 24.0 / (56.0f64 * 20.0).sqrt()).abs() < 1e-12, "{cosine}");
    assert_eq!(similarity(&entry, &Entry { sums: vec![1.0], counts: vec![1] }), None);
    let nothing = Statistics::of(&Entry { sums: vec![1.0], counts: vec![0] });
    assert_eq!((nothing.values, nothing.sum, nothing.entropy), (0, 0.0, 0.0));
}
