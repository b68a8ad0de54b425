//! `seenby demo` as a process: what its exit code says, and that it leaves nothing behind.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the demo may take on a busy machine.
const LONGEST: Duration = Duration::from_secs(240);

/// A demo whose temporary files stand in a folder of the test's own; it ends with the test.
struct Demo {
    process: Child,
    folder: TempDir,
}

impl Demo {
    fn start(events: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_seenby"))
            .args(["demo", "--events", events, "--exit"])
            .env("TMPDIR", folder.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    /// Its folders.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(Path::new(self.folder.path()).join(name)).unwrap()
    }

    fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(started.elapsed() < LONGEST, "{what}: not within {LONGEST:?}: {}", self.text("stderr"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait(&mut self) -> ExitStatus {
        self.wait_until("the demo ends", |demo| demo.process.try_wait().unwrap())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended where the test went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_demo_with_exit_proves_that_all_adds_up_and_leaves_nothing() {
    let mut demo = Demo::start("20000");
    let status = demo.wait();
    let (stdout, stderr) = (demo.text("stdout"), demo.text("stderr"));
    assert!(status.success(), "{status}: {stdout}{stderr}");
    for shown in ["produced = outcomes in the ledger", "everything adds up", "readers of message"] {
        assert!(stdout.contains(shown), "no {shown:?} in {stdout}");
    }
    // Every table is beside a sum that is not nothing.
    for table in
        ["messages", "receipts", "recalls", "changes", "copies", "marks", "rejections", "waits", "ends of waits"]
    {
        let line = stdout.lines().find(|line| line.contains(&format!("= {table} in the table")));
        let line = line.unwrap_or_else(|| panic!("no check of {table} in {stdout}"));
        let figures: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(figures[0] > 0 && figures[0] == figures[1] && line.ends_with("ok"), "{line}");
    }
    assert_eq!(demo.left(), [""; 0]);
}

#[test]
fn an_interrupted_demo_with_exit_fails_and_leaves_nothing() {
    let mut demo = Demo::start("5000000");
    demo.wait_until("the demo listens", |demo| demo.text("stdout").contains("API ").then_some(()));
    assert!(!demo.left().is_empty());
    let told = Command::new("kill").args(["-TERM", &demo.process.id().to_string()]).status().unwrap();
    assert!(told.success());
    let status = demo.wait();
    assert_eq!(status.code(), Some(1), "{}", demo.text("stderr"));
    assert!(demo.text("stderr").contains("interrupted, not reconciled"), "{}", demo.text("stderr"));
    assert_eq!(demo.left(), [""; 0]);
}
