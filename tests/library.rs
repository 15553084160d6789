//! A whole run by another program: the public API alone, which prints nothing.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weightmill::arch::Choices;
use weightmill::input::Input;
use weightmill::options::{Output, Request};
use weightmill::pipeline::{Control, Error, Progress, Run, Settings};
use weightmill::plan;
use weightmill::target::Target;
use weightmill_formats::{Importance, Pickles};
use weightmill_kernels::Level;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// Writes the fixture as Q4_K_M and Q8_0 into `folder`.
fn run(folder: &Path, control: Control<'_>) -> Result<(), Error> {
    run_on(Path::new(FIXTURE), folder, control)
}

fn run_on(checkpoint: &Path, folder: &Path, control: Control<'_>) -> Result<(), Error> {
    let input = Input::open(checkpoint, Pickles::Refuse, &Choices::default()).unwrap();
    let output = |name: &str| Output { target: Target::find(name).unwrap(), path: folder.join(name) };
    let request = Request { outputs: vec![output("Q4_K_M"), output("Q8_0")], ..Request::default() };
    let weights = &input.weights;
    let facts = plan::Input { path: &input.path, weights, model: &input.model, published: None, importance: None };
    let plan = plan::plan(&facts, &request).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let settings = Settings { threads, max_memory: 1 << 20, level: Level::detect(), force: false };
    let importance = Importance::default();
    let run = Run::new(&plan, &facts, &importance, settings)?;
    assert!(run.buffer_bytes() <= 1 << 20);
    run.execute(control)?;
    for output in &plan.outputs {
        assert_eq!(output.path.metadata().unwrap().len(), output.bytes());
    }
    Ok(())
}

#[test]
fn progress_ends_with_everything_done() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Mutex::new(Vec::new());
    let control =
        Control { cancel: &AtomicBool::new(false), progress: &|progress| seen.lock().unwrap().push(progress) };
    run(dir.path(), control).unwrap();
    let seen = seen.into_inner().unwrap();
    let Progress { total, .. } = seen[0];
    assert!(seen.len() > 10 && seen.iter().all(|progress| progress.total == total && progress.done <= total));
    assert_eq!(seen.iter().map(|progress| progress.done).max(), Some(total));
}

#[test]
fn a_cancelled_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let control = Control { cancel: &cancel, progress: &|_| cancel.store(true, Relaxed) };
    assert!(matches!(run(dir.path(), control), Err(Error::Cancelled)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_source_that_changes_during_the_run_is_an_error() {
    let (checkpoint, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(FIXTURE).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), checkpoint.path().join(entry.file_name())).unwrap();
    }
    let weights = std::fs::File::options().append(true).open(checkpoint.path().join("model.safetensors")).unwrap();
    let longer = |_| weights.set_len(weights.metadata().unwrap().len() + 1).unwrap();
    let control = Control { cancel: &AtomicBool::new(false), progress: &longer };
    let error = run_on(checkpoint.path(), dir.path(), control).unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_panic_of_the_caller_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control { cancel: &AtomicBool::new(false), progress: &|_| panic!("on purpose") };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(dir.path(), control)));
    assert!(result.is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
