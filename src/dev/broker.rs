//! A broker in this process: librdkafka's mock cluster. Needs no Java, starts in milliseconds.
//!
//! What it cannot: offsets sent in a transaction are not visible (so `worker.delivery = "at_least_once"`), there is no
//! admin interface, record times are the producer's, and a partition keeps 5 MiB or 100,000 batches, the oldest dropped
//! without a word. Who produces has to wait for the consumer: see [`RETAINED_BYTES`].

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::mocking::MockCluster;

/// Bytes that a partition keeps at least, as batches stand in the log (compressed). The mock drops its oldest batches
/// above it, read or not.
pub const RETAINED_BYTES: u64 = 5 * 1024 * 1024;

/// The broker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// librdkafka refused.
    #[error("starting the broker in process: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The thread that owns it.
    #[error("starting the thread of the broker in process: {0}")]
    Thread(#[from] io::Error),
    /// The thread ended before it said anything.
    #[error("the thread of the broker in process ended at once")]
    Ended,
}

/// A broker that listens on the loopback address. Dropping it stops it, and with it goes all it held.
#[derive(Debug)]
pub struct Broker {
    bootstrap: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker of one node with these topics and partition counts.
    ///
    /// # Errors
    /// Where librdkafka refuses a topic or cannot listen.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, BrokerError> {
        let topics: Vec<(String, i32)> = topics.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
        let (stop, stopped) = mpsc::channel();
        let (started_sender, started) = mpsc::channel();
        // The mock cluster is not Send: one thread makes it, holds it and lets it go.
        let thread = thread::Builder::new().name("broker".to_owned()).spawn(move || {
            let cluster = MockCluster::new(1).and_then(|cluster| {
                topics.iter().try_for_each(|(topic, count)| cluster.create_topic(topic, *count, 1))?;
                Ok(cluster)
            });
            let _ = match &cluster {
                Ok(cluster) => started_sender.send(Ok(cluster.bootstrap_servers())),
                Err(error) => started_sender.send(Err(error.clone())),
            };
            // Ends with a message, or with the handle: either way it is time.
            let _ = stopped.recv();
            drop(cluster);
        })?;
        let bootstrap = started.recv().map_err(|_| BrokerError::Ended)??;
        Ok(Self { bootstrap, stop: Some(stop), thread: Some(thread) })
    }

    /// Its bootstrap server, `127.0.0.1:PORT`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
