//! Calibrated rounding of the small checkpoint: sizes, errors, resumption. What is expected is that the plain quantizer, whose
//! bytes are llama.cpp's, loses more.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use weightmill::arch::Choices;
use weightmill::corpus::{Corpus, Text};
use weightmill::evaluate::evaluate;
use weightmill::forward::{Activations, Machine, Options};
use weightmill::input::Input;
use weightmill::options::{Output, Request};
use weightmill::pipeline::{Control, Run, Settings};
use weightmill::plan;
use weightmill::rounding::{self, Error, Progress, Report, Rounded, Schedule};
use weightmill::target::Target;
use weightmill_formats::{Importance, Pickles};
use weightmill_kernels::{Dtype, Level};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");
const CONTEXT: usize = 64;

/// Types whose recipes make every tensor one of that type, as far as they are rounded here, and a mixture.
const TYPES: &[&str] =
    &["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_S", "Q6_K", "IQ4_NL", "IQ4_XS"];
const SCHEMES: &[&str] = &["w4a16", "w8a8", "gptq", "awq", "mlx-3bit"];

fn open(path: &Path) -> Input {
    Input::open(path, Pickles::Refuse, &Choices::default()).unwrap()
}

/// A text of many words, of which the fixture's vocabulary makes some thousand tokens.
fn corpus(input: &Input, vocabulary: usize) -> Corpus {
    let words =
        ["mill", "river", "grain", "the", "of", "wheel", "brings", "what", "stone", "under", "turns", "miller's"];
    let text: Vec<&str> = (0..2500).map(|at: usize| words[at * at / 3 % 97 % words.len()]).collect();
    let text = Text { name: "text".to_owned(), content: text.join(" ") };
    Corpus::of(&[text], &input.model.metadata, vocabulary, CONTEXT, Some(16)).unwrap()
}

fn machine<'a>(input: &'a Input, cancel: &'a AtomicBool) -> Machine<'a> {
    let options = Options {
        sequence: CONTEXT,
        max_memory: 64 << 20,
        folder: std::env::temp_dir(),
        level: Level::detect(),
        activations: Activations::Rounded,
    };
    Machine::new(&input.model, &input.weights, options, cancel).unwrap()
}

/// Mean KL divergence of a file from the fixture on the text.
fn divergence(model: &Path) -> f64 {
    let (model, base, cancel) = (open(model), open(Path::new(FIXTURE)), AtomicBool::new(false));
    let (machine, base) = (machine(&model, &cancel), machine(&base, &cancel));
    let corpus = corpus(&model, machine.vocabulary());
    evaluate(&machine, Some(&base), &corpus, 64 << 20, &|_| {}).unwrap().divergence.unwrap().mean_kl
}

struct Setting {
    folder: TempDir,
    types: &'static [&'static str],
    settings: rounding::Settings,
    max_memory: u64,
}

impl Setting {
    fn new(types: &'static [&'static str]) -> Self {
        let settings = rounding::Settings::new(Level::detect());
        Self { folder: tempfile::tempdir().unwrap(), types, settings, max_memory: 256 << 20 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Rounds, and hands over what is needed to write.
    fn with<T>(&self, act: impl FnOnce(&Run<'_>, Result<Rounded, Error>) -> T) -> T {
        let (input, cancel) = (open(Path::new(FIXTURE)), AtomicBool::new(false));
        let published = input.publish().unwrap();
        let outputs =
            self.types.iter().map(|name| Output { target: Target::find(name).unwrap(), path: self.path(name) });
        let request = Request { outputs: outputs.collect(), ..Request::default() };
        let weights = &input.weights;
        let facts = plan::Input {
            path: &input.path,
            weights,
            model: &input.model,
            published: Some(&published),
            importance: None,
        };
        let plan = plan::plan(&facts, &request).unwrap();
        let threads = NonZeroUsize::new(2).unwrap();
        let settings = Settings { threads, max_memory: 64 << 20, level: Level::detect(), force: true };
        let importance = Importance::default();
        let run = Run::new(&plan, &facts, &importance, settings).unwrap();
        let schedule = Schedule::new(run.goals(), &input.model, self.max_memory, 0);
        let rounded = schedule.and_then(|schedule| {
            let machine = machine(&input, &cancel);
            let corpus = corpus(&input, machine.vocabulary());
            let progress = Progress { step: &|_| {}, layer: &|_| {} };
            let settings = (self.path(".rounding"), &self.settings);
            rounding::round(&machine, weights, &corpus, &schedule, settings, None, &progress)
        });
        act(&run, rounded)
    }

    /// Rounds and writes.
    fn write(&self) -> Report {
        self.with(|run, rounded| {
            let rounded = rounded.unwrap();
            let control = Control { cancel: &AtomicBool::new(false), progress: &|_| {} };
            run.execute_with(control, Some(&rounded)).unwrap();
            let report = rounded.report.clone();
            rounded.remove().unwrap();
            assert!(!self.path(".rounding").exists());
            report
        })
    }
}

/// Writes the same outputs plainly.
fn write_plainly(setting: &Setting, folder: &Path) {
    for name in setting.types {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_quantize"))
            .args([FIXTURE, "-q", "-t", name, "-o"])
            .arg(folder.join(name))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Every tensor of the layers lost less.
fn check_report(report: &Report) {
    let names: BTreeSet<&str> = report.rounded.iter().map(|tensor| tensor.tensor.as_str()).collect();
    let layers = names.iter().filter(|name| name.starts_with("blk.")).count();
    // two layers of seven matrices each, by the names of either form
    assert!([layers, names.len() - layers].iter().all(|count| [0, 14].contains(count)), "{names:?}");
    for tensor in &report.rounded {
        let figures = tensor.figures;
        assert!(figures.tokens == 16 * CONTEXT as u64 && figures.plain_matrices == 0, "{tensor:?}");
        assert!(0.0 < figures.error_after && figures.error_after < figures.error_before, "{tensor:?}");
    }
}

#[test]
fn files_keep_their_form_and_lose_less() {
    let setting = Setting::new(TYPES);
    let plain = tempfile::tempdir().unwrap();
    write_plainly(&setting, plain.path());
    check_report(&setting.write());
    for name in TYPES {
        let (path, plain) = (setting.path(name), plain.path().join(name));
        let (found, expected) = (weightmill_formats::open(&path).unwrap(), weightmill_formats::open(&plain).unwrap());
        let form = |source: &dyn weightmill_formats::Source| -> Vec<(String, Dtype, u64)> {
            source.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.dtype, tensor.offset)).collect()
        };
        assert_eq!(form(found.as_ref()), form(expected.as_ref()), "{name}");
        assert_eq!(path.metadata().unwrap().len(), plain.metadata().unwrap().len());
        for (found_tensor, expected_tensor) in found.tensors().iter().zip(expected.tensors()) {
            let is_layer = found_tensor.name.starts_with("blk.") && !found_tensor.name.contains("norm");
            let same = found.view(found_tensor) == expected.view(expected_tensor);
            assert_eq!(same, !is_layer, "{name}, {}", found_tensor.name);
        }
    }
    for name in ["Q2_K", "Q3_K_M", "Q4_0"] {
        let (found, expected) = (divergence(&setting.path(name)), divergence(&plain.path().join(name)));
        assert!(found < expected, "{name}: {found}, plainly {expected}");
    }
}

#[test]
fn folders_of_integers_lose_less() {
    let setting = Setting::new(SCHEMES);
    let plain = tempfile::tempdir().unwrap();
    write_plainly(&setting, plain.path());
    check_report(&setting.write());
    for name in ["w4a16", "awq"] {
        let (found, expected) = (divergence(&setting.path(name)), divergence(&plain.path().join(name)));
        assert!(found < expected, "{name}: {found}, plainly {expected}");
    }
}

/// Later layers see what is written, whichever way its rows lie: rows of queries and keys have another order in the model that
/// runs than in the folder that is written.
#[test]
fn one_type_alone_is_rounded_on_what_is_written() {
    for types in [&["w4a16"][..], &["awq"], &["mlx-3bit"], &["Q3_K_M"]] {
        let mut setting = Setting::new(types);
        let plain = tempfile::tempdir().unwrap();
        write_plainly(&setting, plain.path());
        let mut written = Vec::new();
        for sequential in [true, false] {
            setting.settings.sequential = sequential;
            let report = setting.write();
            check_report(&report);
            let error = |layer: &str| -> f64 {
                let of_layer = report.rounded.iter().filter(|tensor| tensor.tensor.contains(layer));
                of_layer.map(|tensor| tensor.figures.error_after).sum()
            };
            // what the second layer sees is not far from what the model's own second layer sees
            written.push([
                error(if types[0] == "Q3_K_M" { "blk.1." } else { "layers.1." }),
                divergence(&setting.path(types[0])),
            ]);
            assert!(written.last().unwrap()[1] < divergence(&plain.path().join(types[0])), "{types:?}");
        }
        let [[on_written, _], [on_own, _]] = written[..] else { unreachable!("two runs") };
        assert!(on_written != on_own && (0.8..1.25).contains(&(on_written / on_own)), "{types:?}: {written:?}");
    }
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let mut setting = Setting::new(&["Q3_K_M"]);
    // so that what is left of a layer decides on those that follow
    setting.settings.sequential = true;
    let results = |setting: &Setting| {
        let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(setting.path(".rounding"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let resumed = |setting: &Setting| setting.with(|_, rounded| rounded.unwrap().report.resumed);
    assert_eq!(resumed(&setting), 0);
    let whole = results(&setting);
    assert_eq!(whole.len(), 15);
    // one of the first layer, one of the second
    fs::remove_file(&whole[2].0).unwrap();
    fs::remove_file(&whole[11].0).unwrap();
    assert_eq!(resumed(&setting), 12);
    assert!(results(&setting) == whole, "a resumed run differs");

    let mut other = Setting { settings: rounding::Settings { damping: 0.02, ..setting.settings.clone() }, ..setting };
    let error = other.with(|_, rounded| rounded.err().unwrap()).to_string();
    assert!(error.contains(".rounding") && error.contains("--force"), "{error}");
    assert!(results(&other) == whole);
    other.settings.force = true;
    assert_eq!(resumed(&other), 0);
    assert!(results(&other) != whole);
}

#[test]
fn a_small_memory_takes_more_runs_of_a_layer_and_too_little_is_refused() {
    let mut setting = Setting::new(&["Q4_K_M"]);
    // one moment takes 256 KiB, and the rest of a layer's 128 MiB
    setting.max_memory = (128 << 20) + (256 << 10);
    let report = setting.write();
    check_report(&report);
    setting.max_memory = 100 << 20;
    let error = setting.with(|_, rounded| rounded.err().unwrap()).to_string();
    assert!(error.contains("give at least 134479872"), "{error}");
}

#[test]
fn few_tokens_mean_plain_rounding() {
    let mut setting = Setting::new(&["Q4_K_M"]);
    setting.settings.least_tokens = 5.0;
    let plain = tempfile::tempdir().unwrap();
    write_plainly(&setting, plain.path());
    let report = setting.write();
    assert!(report.rounded.iter().all(|tensor| tensor.figures.plain_matrices == 1));
    assert!(fs::read(setting.path("Q4_K_M")).unwrap() == fs::read(plain.path().join("Q4_K_M")).unwrap());
}
