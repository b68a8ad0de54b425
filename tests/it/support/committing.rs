//! A member of a group that commits effects without a worker around it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use seenby::config::Config;
use seenby::event::{Epoch, EventTime, Offset, PartitionId, RecordTime};
use seenby::fold::Outcome;
use seenby::fold::fact::{Position, RejectionFact};
use seenby::log::{AssignmentChange, KafkaSource, Outbox, PartitionEffects, RecordBatch, Source as _};
use seenby::observe::FailPoint;

use super::worker::PATIENCE;

/// Joins the group as `instance`, and takes over from its beginning what it is given.
pub fn join(config: &Config, instance: &str) -> KafkaSource {
    let mut source = KafkaSource::create(config, instance).unwrap();
    source.join().unwrap();
    let mut batch = RecordBatch::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        source.poll(Duration::from_millis(50), &mut batch).unwrap();
        if let Some(note) = source.take_note() {
            assert_eq!(note.change, AssignmentChange::Assigned);
            let starts: Vec<_> = note.partitions.into_iter().map(|partition| (partition, Offset::default())).collect();
            source.assign(&starts).unwrap();
            return source;
        }
        assert!(Instant::now() < deadline, "the group did not take {instance}");
    }
}

/// What partition 0 adds to a commit up to `next_offset`: one rejection a value.
pub fn rejections(values: &[&str], next_offset: u64) -> PartitionEffects {
    let (partition, next_offset) = (PartitionId::new(0), Offset::new(next_offset));
    let mut outbox = Outbox::default();
    for value in values {
        let fact = RejectionFact {
            outcome: Outcome::Malformed,
            detail: "",
            event: None,
            event_type: None,
            conversation: None,
            received: Some((None, value.as_bytes())),
            position: Position {
                offset: Offset::default(),
                own_offset: Offset::default(),
                own_partition: partition,
                own_epoch: Epoch::new(1),
                record_time: RecordTime::from_millis(1),
            },
        };
        outbox.rejection("events", Epoch::new(1), &fact);
    }
    outbox.finish();
    PartitionEffects { partition, next_offset, watermark: EventTime::from_millis(1), outbox }
}

/// Does something whenever this thread comes to a place, for as long as it lives. Fail points are the process's, and so
/// are met by the workers of other tests, too.
pub struct AtPoint {
    point: FailPoint,
    thread: ThreadId,
}

type Act = Arc<dyn Fn() + Send + Sync>;

static ACTS: Mutex<BTreeMap<&str, HashMap<ThreadId, Act>>> = Mutex::new(BTreeMap::new());

impl AtPoint {
    pub fn run(point: FailPoint, act: impl Fn() + Send + Sync + 'static) -> Self {
        let (name, thread) = (point.name(), std::thread::current().id());
        ACTS.lock().unwrap().entry(name).or_default().insert(thread, Arc::new(act));
        let run_own = move || {
            let own = ACTS.lock().unwrap().get(name).and_then(|acts| acts.get(&std::thread::current().id()).cloned());
            if let Some(act) = own {
                act();
            }
        };
        fail::cfg_callback(name, run_own).unwrap();
        Self { point, thread }
    }
}

impl Drop for AtPoint {
    fn drop(&mut self) {
        ACTS.lock().unwrap().entry(self.point.name()).or_default().remove(&self.thread);
    }
}
