//! A worker that dies at any step of its way loses nothing and doubles nothing: one test for every fail point.
//!
//! SEENBY_FAIL_POINT_ROUNDS says how often each is met, each time at another flush; it is 1 where nothing is said.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use seenby::config::Delivery;
use seenby::observe::FailPoint;

use crate::support::events::OwnedRecord;
use crate::support::worker::{Deployment, PATIENCE, WorkerProcess, load, open_policy};

/// A flush is tried at one of its first so many comings to a place.
const FLUSHES: u32 = 12;

const PARTITIONS: u32 = 4;

/// What brings a worker to a place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Occasion {
    /// A flush, with this delivery.
    Flush(Delivery),
    /// Each start.
    Start,
    /// The first start with partitions that nobody has read before.
    FirstStart,
    /// Another worker that takes its share.
    Sharing,
}

fn occasion(point: FailPoint) -> Occasion {
    match point {
        FailPoint::RowsBegin
        | FailPoint::RowsLedger
        | FailPoint::RowsEnd
        | FailPoint::TransactionBegin
        | FailPoint::TransactionProduce
        | FailPoint::TransactionOffsets
        | FailPoint::TransactionCommit
        | FailPoint::TransactionEnd => Occasion::Flush(Delivery::ExactlyOnce),
        FailPoint::PlainProduce | FailPoint::PlainCommit | FailPoint::PlainEnd => {
            Occasion::Flush(Delivery::AtLeastOnce)
        }
        FailPoint::JoinBegin
        | FailPoint::HydrationBegin
        | FailPoint::HydrationRead
        | FailPoint::AssignBegin
        | FailPoint::AssignEnd => Occasion::Start,
        FailPoint::HydrationFirstCommit => Occasion::FirstStart,
        FailPoint::RevokeBegin | FailPoint::RevokeEnd => Occasion::Sharing,
    }
}

fn rounds() -> usize {
    std::env::var("SEENBY_FAIL_POINT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// A deployment, and a load that is fed to it piece by piece, so that there are flushes as long as they are needed.
struct Fed {
    deployment: Deployment,
    messages: usize,
    readers: usize,
    rest: std::vec::IntoIter<OwnedRecord>,
    /// Records of all partitions so far.
    fed: u64,
}

impl Fed {
    fn new(point: FailPoint, delivery: Delivery, messages: usize, readers: usize) -> Self {
        let test = format!("fail_{}", point.name().replace('.', "_"));
        let mut deployment = Deployment::new(&test, PARTITIONS, delivery);
        deployment.config.worker.flush_interval_ms = 5;
        deployment.produce(&[open_policy()]);
        Self { deployment, messages, readers, rest: load(messages, readers).into_iter(), fed: u64::from(PARTITIONS) }
    }

    fn feed(&mut self, records: usize) {
        let piece: Vec<_> = self.rest.by_ref().take(records).collect();
        self.deployment.produce(&piece);
        self.fed += piece.len() as u64;
    }

    /// Whether all that was fed has its rows. What is fed then comes in a flush of its own, however slowly a worker starts.
    fn is_counted(&self) -> bool {
        self.deployment.outcomes().values().sum::<u64>() >= self.fed
    }

    fn armed(&self, instance: &str, point: FailPoint, spared: u32) -> WorkerProcess {
        let armed = format!("{}={spared}*off->return", point.name());
        self.deployment.spawn_with(instance, &[], &[("FAILPOINTS", &armed)])
    }

    /// Feeds a worker until it has died where it was told to.
    fn feed_until_dead(&mut self, mut worker: WorkerProcess, point: FailPoint) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = worker.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "{point:?} was not met");
            if self.is_counted() {
                self.feed(10);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{point:?}: {status}");
    }

    /// Feeds what is left, and asserts that all of it counts.
    fn finish(mut self) {
        self.feed(usize::MAX);
        let worker = self.deployment.spawn("worker-1");
        let Self { deployment, messages, readers, .. } = self;
        match deployment.config.worker.delivery {
            Delivery::ExactlyOnce => deployment.assert_exactly_once(messages, readers),
            Delivery::AtLeastOnce => deployment.assert_told_at_least_once(messages, readers),
        }
        assert!(worker.terminate());
    }
}

/// Dies at each of the places that `is_meant`, as often as is asked for.
#[expect(clippy::print_stdout, reason = "long runs say how far they are, where the output is asked for")]
fn die_and_count_once(is_meant: impl Fn(Occasion) -> bool) {
    let rounds = rounds();
    let mut met = 0;
    for point in FailPoint::ALL.iter().copied().filter(|point| is_meant(occasion(*point))) {
        let mut random = ChaCha8Rng::seed_from_u64(point as u64);
        match occasion(point) {
            Occasion::Flush(delivery) => {
                let mut fed = Fed::new(point, delivery, 200, 20 + 30 * rounds);
                for _ in 0..rounds {
                    let spared = random.random_range(0..FLUSHES);
                    fed.feed_until_dead(fed.armed("worker-1", point, spared), point);
                }
                fed.finish();
            }
            Occasion::Start => {
                let mut fed = Fed::new(point, Delivery::ExactlyOnce, 200, 20 + 30 * rounds);
                for _ in 0..rounds {
                    fed.feed_until_dead(fed.armed("worker-1", point, 0), point);
                    // Lives for a while, so that the next start finds another state.
                    let flushing = fed.armed("worker-1", FailPoint::RowsEnd, random.random_range(1..FLUSHES));
                    fed.feed_until_dead(flushing, FailPoint::RowsEnd);
                }
                fed.finish();
            }
            Occasion::FirstStart => {
                for _ in 0..rounds {
                    let mut fed = Fed::new(point, Delivery::ExactlyOnce, 50, 30);
                    fed.feed_until_dead(fed.armed("worker-1", point, 0), point);
                    fed.finish();
                }
            }
            Occasion::Sharing => {
                let mut fed = Fed::new(point, Delivery::ExactlyOnce, 200, 20 + 40 * rounds);
                for round in 0..rounds {
                    let before = fed.deployment.outcomes().values().sum::<u64>();
                    let worker = fed.armed("worker-1", point, 0);
                    fed.feed(100);
                    fed.deployment.wait_for_at_least(before + 100);
                    let other = fed.deployment.start_as(&format!("other-{round}"));
                    fed.feed_until_dead(worker, point);
                    // The name comes back, takes its share, and the other one leaves it everything.
                    let worker = fed.deployment.spawn("worker-1");
                    fed.feed(100);
                    other.wait_until_ready();
                    other.stop(true).unwrap();
                    worker.kill();
                }
                fed.finish();
            }
        }
        met += rounds;
        println!("{}: died {rounds} times, nothing lost, nothing doubled", point.name());
    }
    assert!(met > 0);
}

#[test]
fn dying_at_any_step_of_a_transactional_flush_loses_and_doubles_nothing() {
    die_and_count_once(|occasion| occasion == Occasion::Flush(Delivery::ExactlyOnce));
}

#[test]
fn dying_at_any_step_of_a_plain_flush_loses_nothing_and_counts_nothing_twice() {
    die_and_count_once(|occasion| occasion == Occasion::Flush(Delivery::AtLeastOnce));
}

#[test]
fn dying_while_taking_partitions_over_loses_and_doubles_nothing() {
    die_and_count_once(|occasion| matches!(occasion, Occasion::Start | Occasion::FirstStart));
}

#[test]
fn dying_while_giving_partitions_up_loses_and_doubles_nothing() {
    die_and_count_once(|occasion| occasion == Occasion::Sharing);
}
