//! A real Apache Kafka broker on this machine: one KRaft node, run by Java from the jars of `.tools`.

// Sending a signal and asking for one at the parent's death are calls of the C library.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::tools;

/// The version of Kafka that seenby is tested with.
pub const KAFKA_VERSION: &str = "4.3.0";

/// Identity of the one-node cluster: 16 bytes in unpadded base64, as the storage tool asks. A constant, so that a data
/// folder starts again whoever made it.
const CLUSTER_ID: &str = "seenby-dev-kafka-nodeA";

/// How long the broker may take until it listens; it took 3.5 s on two idle cores. One that was killed reads its logs again
/// first, which takes more than a minute on a busy machine.
const START: Duration = Duration::from_secs(180);

/// How long an orderly stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(15);

/// Kafka could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// No jars in the places looked at.
    #[error("no Apache Kafka in {searched}; run `make setup`, or name the folder of its jars in SEENBY_KAFKA")]
    NotFound {
        /// The places, for people.
        searched: String,
    },
    /// A file, a port or the process.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The process ended before it listened.
    #[error("{what} ended with {status}; the reason stands in {log}")]
    Ended {
        /// Which program.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its output.
        log: PathBuf,
    },
    /// The process did not listen in time.
    #[error("Kafka did not listen within {START:?}; its output stands in {log}")]
    Late {
        /// Its output.
        log: PathBuf,
    },
}

/// A broker that listens. Dropping it kills it; [`Kafka::stop`] ends it in order.
#[derive(Debug)]
pub struct Kafka {
    process: Child,
    address: SocketAddr,
}

impl Kafka {
    /// Starts a broker with its data in `folder` (made and formatted if new) and waits until it listens on the loopback
    /// address; port 0 is a free one. Call it from a thread that lives as long as the broker is wanted: on Linux the
    /// broker ends with the thread that started it.
    ///
    /// Topics get LogAppendTime as their default, as seenby expects, and are not created by asking for them.
    ///
    /// # Errors
    /// Where Kafka or Java is not installed, the folder is not writable, or the broker does not come up.
    pub fn start(folder: &Path, port: u16) -> Result<Self, KafkaError> {
        let jars = tools::find("SEENBY_KAFKA", &Path::new(&format!("kafka-{KAFKA_VERSION}")).join("libs"))
            .map_err(|searched| KafkaError::NotFound { searched: searched.0 })?;
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(io_error(|| format!("making the data folder {}", data.display())))?;
        let (port, controller_port) =
            ports(port).map_err(io_error(|| "looking for free ports for Kafka".to_owned()))?;

        let settings = folder.join("server.properties");
        fs::write(&settings, server_properties(&data, port, controller_port))
            .map_err(io_error(|| format!("writing {}", settings.display())))?;
        let log = folder.join("kafka.log");
        if !data.join("meta.properties").exists() {
            let format = ["format", "-t", CLUSTER_ID, "-c"].map(String::from);
            let status = java(&jars, "kafka.tools.StorageTool", &log)?
                .args(format)
                .arg(&settings)
                .status()
                .map_err(io_error(|| JAVA.to_owned()))?;
            if !status.success() {
                return Err(KafkaError::Ended { what: "Kafka's storage tool", status, log });
            }
        }
        let process = ends_with_parent(java(&jars, "kafka.Kafka", &log)?.arg(&settings))
            .spawn()
            .map_err(io_error(|| JAVA.to_owned()))?;
        let mut kafka = Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        kafka.wait_until_listening(&log)?;
        Ok(kafka)
    }

    /// Its bootstrap server, `127.0.0.1:PORT`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Stops it in order, so that the next start needs no log recovery.
    ///
    /// # Errors
    /// Where the process cannot be waited for.
    pub fn stop(mut self) -> Result<(), KafkaError> {
        if let Ok(id) = libc::pid_t::try_from(self.process.id()) {
            // SAFETY: takes no pointers; the process is ours and not waited for yet, so its id is still its own.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP {
            if self.process.try_wait().map_err(io_error(|| "waiting for Kafka to stop".to_owned()))?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn wait_until_listening(&mut self, log: &Path) -> Result<(), KafkaError> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            let ended = self.process.try_wait().map_err(io_error(|| "waiting for Kafka to start".to_owned()))?;
            if let Some(status) = ended {
                return Err(KafkaError::Ended { what: "Kafka", status, log: log.to_path_buf() });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(KafkaError::Late { log: log.to_path_buf() })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Both fail only where the process has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const JAVA: &str = "running java (Kafka needs Java 17 or newer on the PATH)";

fn io_error(doing: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> KafkaError {
    move |source| KafkaError::Io { doing: doing(), source }
}

/// A class of Kafka's as a command whose output goes to `log`.
fn java(jars: &Path, class: &str, log: &Path) -> Result<Command, KafkaError> {
    let writing = || format!("writing {}", log.display());
    let output = File::options().create(true).append(true).open(log).map_err(io_error(writing))?;
    let errors = output.try_clone().map_err(io_error(writing))?;
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp"]).arg(jars.join("*")).arg(class).stdin(Stdio::null()).stdout(output).stderr(errors);
    Ok(command)
}

/// Has the kernel end the process when the thread that starts it ends, however that happens.
fn ends_with_parent(command: &mut Command) -> &mut Command {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only this one system call runs, which is safe there.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    command
}

/// The broker's port and one for the controller. Kafka has to know its port before it listens, so free ones are taken
/// and let go again; both are held together, so that they differ.
fn ports(port: u16) -> io::Result<(u16, u16)> {
    let broker = if port == 0 { Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?) } else { None };
    let controller = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let broker_port = match &broker {
        Some(listener) => listener.local_addr()?.port(),
        None => port,
    };
    Ok((broker_port, controller.local_addr()?.port()))
}

fn server_properties(data: &Path, port: u16, controller_port: u16) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={}
# One node holds everything once.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
# As seenby expects its input: times are the broker's, topics are made on purpose.
log.message.timestamp.type=LogAppendTime
auto.create.topics.enable=false
num.partitions=8
# Room for records that are too large for seenby, which tests send.
message.max.bytes=4194304
# Tests start groups and lose members often.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
",
        data.display()
    )
}
