//! A `seenby dev …` process that lives as long as the test run.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a part may take until it listens. A broker that was killed reads its logs again first.
const START: Duration = Duration::from_secs(200);

/// A part that runs in the foreground of a process of its own. It watches its standard input, whose other end is held
/// here: when the test process ends, by panic or signal too, the pipe closes, and the part removes its folder and stops.
pub struct Part {
    /// What it said when it began to listen, after the last space: its address.
    pub address: String,
    process: Child,
    _lifeline: ChildStdin,
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Part {
    /// Starts `seenby dev <name>` on a free port with a temporary folder, and waits until it listens.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same with a folder that stays and a port of one's choice, so that it can be killed and started again as what
    /// it was. A killed one may hold its port for a moment longer, which is waited for.
    pub fn start_at(name: &str, folder: &Path, port: u16) -> Self {
        let begun = Instant::now();
        while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() && begun.elapsed() < START {
            thread::sleep(Duration::from_millis(20));
        }
        Self::start_with(name, &["--dir", folder.to_str().unwrap(), "--port", &port.to_string()])
    }

    fn start_with(name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_seenby"))
            .args(["dev", name, "--exit-with-stdin"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lifeline = process.stdin.take().unwrap();
        let output = process.stdout.take().unwrap();
        let (line_sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(output).lines();
            line_sender.send(lines.next()).unwrap();
            // Read on, or a part that writes more would stand still.
            lines.for_each(drop);
        });
        let line = line
            .recv_timeout(START)
            .unwrap_or_else(|_| panic!("seenby dev {name} did not listen within {START:?}"))
            .unwrap_or_else(|| panic!("seenby dev {name} ended before it listened; its reason stands above"))
            .unwrap();
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Self { address, process, _lifeline: lifeline }
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
