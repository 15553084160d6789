//! Ctrl-C and SIGTERM: nothing stays, and the status says so. SIGKILL: the next run cleans up.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{folder, names, write_sparse};

#[test]
fn a_signal_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let dir = folder();
        let input = dir.path().join("large.gguf");
        // 400 million weights: more than ten seconds for one thread without vectors.
        write_sparse(&input, 100_000);
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("quantize"))
            .arg(&input)
            .args(["-t", "Q2_K", "--threads", "1", "-o"])
            .arg(out.join("large.gguf"))
            .env("QUANTIZE_SIMD", "scalar")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The unfinished file shows that the run is under way.
        let start = Instant::now();
        while names(&out).is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "ended before it began");
            assert!(start.elapsed() < Duration::from_secs(60), "no file after a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
        let partial = names(&out);
        assert!(partial.len() == 1 && partial[0] != "large.gguf", "{partial:?}");
        let status = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("interrupted"));
        assert_eq!(names(&out), [""; 0], "{signal}");
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let dir = folder();
    let input = dir.path().join("large.gguf");
    write_sparse(&input, 100_000);
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let start = || {
        Command::new(assert_cmd::cargo::cargo_bin("quantize"))
            .arg(&input)
            .args(["-t", "Q2_K", "--threads", "1", "-o"])
            .arg(out.join("large.gguf"))
            .env("QUANTIZE_SIMD", "scalar")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let wait_for = |count: usize| {
        let start = Instant::now();
        while names(&out).len() != count {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", names(&out));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut killed = start();
    wait_for(1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = names(&out);
    assert_eq!(left.len(), 1);

    // A run of the same output that is still at work keeps its file.
    let mut running = start();
    let begin = Instant::now();
    while names(&out) == left || names(&out).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the old file is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mine = names(&out);
    assert!(mine.len() == 1 && mine != left, "{mine:?}");
    let mut second = start();
    wait_for(2);
    assert!(names(&out).contains(&mine[0]));
    for child in [&mut running, &mut second] {
        let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(signal.success() && child.wait().unwrap().code() == Some(130));
    }
    let mut messages = String::new();
    std::io::Read::read_to_string(&mut running.stderr.take().unwrap(), &mut messages).unwrap();
    assert!(messages.contains(&format!("removed {}", out.join(&left[0]).display())), "{messages}");
    assert_eq!(names(&out), [""; 0]);
}
