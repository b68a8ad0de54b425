//! A worker as a process of its own: started, signalled, watched by its metrics, and killed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use seenby::config::Delivery;

use super::{Deployment, PATIENCE};

/// A worker in a process of its own, killed when it goes out of scope.
pub struct WorkerProcess {
    child: std::process::Child,
    metrics: SocketAddr,
}

impl Deployment {
    /// The configuration as variables of a process's environment.
    pub fn environment(&self, instance: &str) -> impl Iterator<Item = (String, String)> + use<> {
        let config = &self.config;
        let delivery = match config.worker.delivery {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        };
        let settings = [
            ("KAFKA__BROKERS", config.kafka.brokers.clone()),
            ("KAFKA__GROUP", config.kafka.group.clone()),
            ("KAFKA__EPOCH", config.kafka.epoch.to_string()),
            ("KAFKA__TOPICS__EVENTS", config.kafka.topics.events.clone()),
            ("KAFKA__TOPICS__NOTIFICATIONS", config.kafka.topics.notifications.clone()),
            ("KAFKA__TOPICS__REJECTIONS", config.kafka.topics.rejections.clone()),
            ("CLICKHOUSE__URL", config.clickhouse.url.clone()),
            ("CLICKHOUSE__DATABASE", config.clickhouse.database.clone()),
            ("CLICKHOUSE__COMPRESSION", "false".to_owned()),
            ("CLICKHOUSE__TIMEOUT_MS", config.clickhouse.timeout_ms.to_string()),
            ("WORKER__DELIVERY", delivery.to_owned()),
            ("WORKER__INSTANCE", instance.to_owned()),
            ("WORKER__FLUSH_INTERVAL_MS", config.worker.flush_interval_ms.to_string()),
            ("WORKER__ERASURE_INTERVAL_MS", config.worker.erasure_interval_ms.to_string()),
            ("WORKER__FLUSH_RECORDS", config.worker.flush_records.to_string()),
            ("WORKER__SESSION_TIMEOUT_MS", config.worker.session_timeout_ms.to_string()),
            ("WORKER__MAX_POLL_INTERVAL_MS", config.worker.max_poll_interval_ms.to_string()),
        ];
        settings.into_iter().map(|(name, value)| (format!("SEENBY__{name}"), value))
    }

    /// Starts `seenby worker` as a process under an instance name.
    pub fn spawn(&self, instance: &str) -> WorkerProcess {
        self.spawn_with(instance, &[], &[])
    }

    /// The same, with arguments and variables of its own.
    pub fn spawn_with(&self, instance: &str, arguments: &[&str], variables: &[(&str, &str)]) -> WorkerProcess {
        // Free when it was asked for; whoever takes it meanwhile fails the test and no other.
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_seenby"));
        command.arg("worker").args(arguments).envs(variables.iter().copied()).envs(self.environment(instance));
        let child = command.env("SEENBY__METRICS__LISTEN", metrics.to_string()).spawn().unwrap();
        WorkerProcess { child, metrics }
    }
}

impl WorkerProcess {
    /// The most memory that it had resident so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and returns whether it did so with success.
    pub fn terminate(self) -> bool {
        self.signal("TERM");
        self.wait().success()
    }

    /// A metric's sum over those of its series whose labels hold `label`; 0 where it does not answer.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect_timeout(&self.metrics, Duration::from_secs(1))?;
            connection.set_read_timeout(Some(Duration::from_secs(1)))?;
            connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        let series = answer.lines().filter_map(|line| line.strip_prefix(name));
        let series = series.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
        series.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Sends it a signal, named without SIG.
    pub fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &process]).status().unwrap();
        assert!(sent.success());
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
