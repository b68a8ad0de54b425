//! Node scripts of tests/sdk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a script may take; each bounds its own steps far below.
const WITHIN: Duration = Duration::from_secs(60);

/// Runs a script of tests/sdk with a JSON argument, and gives what it printed after the word ANSWERS.
pub fn answers(script: &str, argument: &Value) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    assert!(
        folder.join("node_modules").is_dir(),
        "the packages of tests/sdk are missing: run `npm ci` there (`make test` does), with Node 20 or later"
    );
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut process = Command::new("node")
        .arg(script)
        .arg(argument.to_string())
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(log.reopen().unwrap())
        .stderr(log.reopen().unwrap())
        .spawn()
        .expect("node is missing: install Node 20 or later");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > WITHIN {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("{script} did not end within {WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let output = String::from_utf8_lossy(&std::fs::read(log.path()).unwrap()).into_owned();
    assert!(status.success(), "{script} failed:\n{output}");
    let answers = output.lines().find_map(|line| line.strip_prefix("ANSWERS ")).expect(&output);
    serde_json::from_str(answers).unwrap()
}

/// The browser that tests drive.
pub fn chromium() -> PathBuf {
    let path = PathBuf::from("/usr/bin/chromium");
    assert!(path.exists(), "{} is missing: install the Debian package chromium", path.display());
    path
}
