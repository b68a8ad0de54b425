//! Folding a partition's log forward outside of the group: after a hydration that lags behind, to verify, to rebuild.

use bumpalo::Bump;

use crate::event::{Offset, PartitionId, Record};
use crate::fold::Partition;
use crate::fold::fact::Sink;
use crate::log::{LogReader, RecordBatch, SourceError};

/// A partition's state on its way through a range of its log, up to an offset.
///
/// The caller gives the sink of each batch and says where flushes end, so it may write rows, compare them or drop them:
///
/// ```text
/// let mut replay = Replay::begin(reader, state, target)?;
/// while !replay.is_done() {
///     replay.fold_batch(target, &mut rows.partition(partition))?;
///     if replay.is_done() || rows.bytes() > limit {
///         replay.end_flush(&mut rows.partition(partition));
///         …
///     }
/// }
/// ```
pub struct Replay<'a, R: LogReader> {
    log: LogRange<'a, R>,
    state: Partition,
}

impl<'a, R: LogReader> Replay<'a, R> {
    /// Begins at the state's `next_offset`, to end at `target`, exclusive.
    ///
    /// # Errors
    /// What the log's client refused.
    pub fn begin(reader: &'a mut R, state: Partition, target: Offset) -> Result<Self, SourceError> {
        let log = LogRange::begin(reader, state.identity().partition, state.next_offset(), target)?;
        Ok(Self { log, state })
    }

    /// Folds the next records below `until` and below the target, a bounded number of them; their facts go to `sink`.
    /// Returns the offset before which everything is folded, at most that bound.
    ///
    /// # Errors
    /// As [`LogReader::read`]. What was folded before stays so.
    pub fn fold_batch(&mut self, until: Offset, sink: &mut impl Sink) -> Result<Offset, SourceError> {
        let Self { log, state } = self;
        log.read_batch(until, |record| {
            state.apply(record, sink);
        })
    }

    /// Ends a flush where the replay stands: `sink` gets the counts and totals as of there.
    pub fn end_flush(&mut self, sink: &mut impl Sink) {
        self.state.end_flush(self.log.position, sink);
    }

    /// Whether everything before the target is folded.
    pub fn is_done(&self) -> bool {
        self.log.is_done()
    }

    /// Everything before it is folded.
    pub fn position(&self) -> Offset {
        self.log.position
    }

    /// How many records were folded.
    pub fn records(&self) -> u64 {
        self.log.records
    }

    /// The state as of [`Replay::position`].
    pub fn state(&self) -> &Partition {
        &self.state
    }

    /// Gives the state back. As of a target behind its last record only after [`Replay::end_flush`].
    pub fn into_state(self) -> Partition {
        self.state
    }
}

/// A range of a partition's log on its way through whatever takes its records, batch by batch.
pub struct LogRange<'a, R: LogReader> {
    reader: Reading<'a, R>,
    batch: RecordBatch,
    arena: Bump,
    /// Everything before it was handed on; may stand behind markers that follow the last record.
    position: Offset,
    target: Offset,
    records: u64,
}

impl<'a, R: LogReader> LogRange<'a, R> {
    /// Begins at `from`, to end at `target`, exclusive.
    ///
    /// # Errors
    /// What the log's client refused.
    pub fn begin(reader: &'a mut R, partition: PartitionId, from: Offset, target: Offset) -> Result<Self, SourceError> {
        reader.begin(partition, from)?;
        Ok(Self {
            reader: Reading(reader),
            batch: RecordBatch::default(),
            arena: Bump::new(),
            position: from,
            target,
            records: 0,
        })
    }

    /// Gives the next records below `until` and below the target to `take`, a bounded number of them. Returns the offset
    /// before which all were given, at most that bound.
    ///
    /// # Errors
    /// As [`LogReader::read`]. What was given before stays so.
    pub fn read_batch(&mut self, until: Offset, mut take: impl FnMut(&Record<'_>)) -> Result<Offset, SourceError> {
        let until = until.min(self.target);
        if self.position >= until {
            return Ok(self.position);
        }
        let passed = self.reader.0.read(until, &mut self.batch)?;
        for consumed in self.batch.iter() {
            debug_assert!(consumed.offset >= self.position && consumed.offset < until, "the reader keeps to its range");
            take(&consumed.decode(&self.arena));
            self.records += 1;
        }
        self.arena.reset();
        self.position = self.position.max(passed.min(until));
        Ok(self.position)
    }

    /// Whether everything before the target was handed on.
    pub fn is_done(&self) -> bool {
        self.position >= self.target
    }

    /// Everything before it was handed on.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// How many records were handed on.
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// A reader that reads; it ends with the replay, also with one that failed: what it has fetched ahead is given back.
struct Reading<'a, R: LogReader>(&'a mut R);

impl<R: LogReader> Drop for Reading<'_, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}
