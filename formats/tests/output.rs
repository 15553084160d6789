//! Output files: nothing under the final name before the commit, nothing left behind without one.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use weightmill_formats::output::{check_target, free_space, remove_stale};
use weightmill_formats::{Kind, OutputFile};

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn written_from_many_threads_then_named() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("model.gguf");
    let output = OutputFile::create(&target, 1000, false).unwrap();
    let [temporary] = &names(folder.path())[..] else { panic!() };
    assert!(temporary.starts_with(".model.gguf.") && temporary.ends_with(".partial"), "{temporary}");
    assert_eq!(output.temporary().file_name().unwrap(), temporary.as_str());
    assert_eq!(fs::metadata(output.temporary()).unwrap().len(), 1000);
    std::thread::scope(|scope| {
        for part in (0..99u8).rev() {
            let output = &output;
            scope.spawn(move || output.write_all_at(&[part + 1; 10], u64::from(part) * 10).unwrap());
        }
    });
    assert!(!target.exists());
    output.commit().unwrap();
    assert_eq!(names(folder.path()), ["model.gguf"]);
    let bytes = fs::read(&target).unwrap();
    assert_eq!(bytes.len(), 1000);
    // What nobody wrote is zero.
    assert!(bytes.iter().enumerate().all(|(at, &byte)| usize::from(byte) == (at / 10 + 1) % 100));
}

#[test]
fn dropped_without_a_commit() {
    let folder = TempDir::new().unwrap();
    let output = OutputFile::create(&folder.path().join("x"), 10, false).unwrap();
    output.write_all_at(b"0123456789", 0).unwrap();
    drop(output);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_a_killed_process_left_is_removed_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x.gguf");
    let running = OutputFile::create(&target, 10, false).unwrap();
    // As a process leaves it whose end released the lock.
    let left = [".x.gguf.aB3dE6.partial", ".x.gguf.000000.partial"];
    let others = [
        ".x.gguf.partial",
        ".x.gguf.abc.partial",
        ".x.gguf.abc-ef.partial",
        ".x.gguf.abcdefg.partial",
        ".y.gguf.abcdef.partial",
        "x.gguf.abcdef.partial",
        ".x.gguf.abcdef.partial2",
        ".x.gguf.fold10.partial",
        ".x.gguf.link10.partial",
    ];
    for name in left.iter().chain(&others[..7]) {
        fs::write(folder.path().join(name), "half a model").unwrap();
    }
    fs::create_dir(folder.path().join(others[7])).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join(others[0]), folder.path().join(others[8])).unwrap();

    let mut removed = remove_stale(&target);
    removed.sort();
    assert_eq!(removed, [folder.path().join(left[1]), folder.path().join(left[0])]);
    assert!(running.temporary().exists());
    assert!(others[..8].iter().all(|name| folder.path().join(name).exists()));
    #[cfg(unix)]
    assert!(folder.path().join(others[8]).is_symlink());
    running.commit().unwrap();
    assert!(target.exists() && remove_stale(&target).is_empty());
    assert!(remove_stale(&folder.path().join("no/such/folder/x")).is_empty());
}

#[test]
#[should_panic(expected = "bytes 8+3 of 10")]
fn writing_beyond_the_length_is_a_bug() {
    let folder = TempDir::new().unwrap();
    let output = OutputFile::create(&folder.path().join("x"), 10, false).unwrap();
    let _ = output.write_all_at(b"abc", 8);
}

#[test]
fn an_existing_file_stays_unless_forced() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x");
    fs::write(&target, "old").unwrap();
    let error = OutputFile::create(&target, 3, false).unwrap_err();
    assert!(matches!(error.kind(), Kind::Exists));
    assert_eq!(error.in_file(), Some(target.as_path()));
    assert!(error.to_string().contains("--force"), "{error}");
    assert!(check_target(&target, false).is_err() && check_target(&target, true).is_ok());
    assert_eq!(names(folder.path()), ["x"]);

    let output = OutputFile::create(&target, 3, true).unwrap();
    output.write_all_at(b"new", 0).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    output.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["x"]);
}

#[test]
fn a_file_that_appears_during_the_run_stays() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x");
    let output = OutputFile::create(&target, 3, false).unwrap();
    fs::write(&target, "theirs").unwrap();
    let error = output.commit().unwrap_err();
    assert!(matches!(error.kind(), Kind::Exists), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    assert_eq!(names(folder.path()), ["x"]);
}

#[cfg(unix)]
#[test]
fn links_are_never_followed() {
    use std::os::unix::fs::symlink;

    let folder = TempDir::new().unwrap();
    let (target, other) = (folder.path().join("x"), folder.path().join("other"));
    fs::write(&other, "precious").unwrap();
    for to in [other.as_path(), Path::new("nowhere")] {
        symlink(to, &target).unwrap();
        assert!(matches!(OutputFile::create(&target, 3, false).unwrap_err().kind(), Kind::Exists));
        OutputFile::create(&target, 3, true).unwrap().commit().unwrap();
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
        fs::remove_file(&target).unwrap();
    }
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["other"]);
}

#[cfg(unix)]
#[test]
fn a_device_is_never_replaced() {
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for target in [std::path::Path::new("/dev/null"), &link] {
        let error = weightmill_formats::output::check_target(target, true).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_an_ordinary_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x");
    OutputFile::create(&target, 0, false).unwrap().commit().unwrap();
    fs::write(folder.path().join("ordinary"), "").unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("x"), mode("ordinary"));
}

#[test]
fn targets_that_cannot_be() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(OutputFile::create(folder.path(), 1, true).unwrap_err().kind(), Kind::NotAFile));
    assert!(matches!(OutputFile::create(Path::new("/"), 1, true).unwrap_err().kind(), Kind::NotAFile));
    let lost = folder.path().join("no such folder").join("x");
    let error = OutputFile::create(&lost, 1, false).unwrap_err();
    assert!(matches!(error.kind(), Kind::Io { .. }), "{error:?}");
    assert_eq!(error.in_file(), Some(lost.as_path()));
}

/// More than any disk has: refused at once, and nothing stays behind.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_error() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x");
    let needed = free_space(&target).unwrap() * 2 + (1 << 30);
    let error = OutputFile::create(&target, needed, false).unwrap_err();
    match error.kind() {
        Kind::NoSpace { needed: n, available } => assert!(*n == needed && *available < needed),
        // The file system knows no file of that length.
        Kind::Io { error, .. } => assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge),
        other => panic!("{other}"),
    }
    assert_eq!(error.in_file(), Some(target.as_path()));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn free_space_of_folders_and_files_to_be() {
    let folder = TempDir::new().unwrap();
    assert!(free_space(folder.path()).unwrap() > 0);
    assert!(free_space(&folder.path().join("x")).unwrap() > 0);
    assert!(free_space(Path::new("x")).unwrap() > 0);
    assert!(free_space(&folder.path().join("no such folder/x")).is_err());
}
