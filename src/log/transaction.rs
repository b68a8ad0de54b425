//! Effects and offsets in one Kafka transaction: visible together or not at all.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{REQUEST_TIMEOUT, TRANSACTION_TIMEOUT_MILLIS};
use super::commit::{EffectProducer, NOT_THE_HOLDER, Produced};
use super::{CommitError, CommitMetadata, Committer, KafkaGroup, PartitionEffects, SourceError};
use crate::config::Config;
use crate::event::{EventTime, Offset, PartitionId};
use crate::observe::{FailPoint, reach};

/// How long joining the coordinator may take, an earlier owner's open transaction included.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a step is repeated that the client calls retriable (a time-out, a coordinator that moves).
const STEP_ATTEMPTS: usize = 5;

/// The transactional producer of one pipeline: `transactional.id` = group.instance.thread.
pub struct TransactionalCommitter {
    producer: EffectProducer,
    group: KafkaGroup,
    /// Whether there is a transaction whose end is not known.
    is_unsettled: bool,
}

impl TransactionalCommitter {
    /// Takes the transactional id over: ends or aborts what an earlier owner left open, and fences it. From then on what
    /// the group says is committed stays so.
    ///
    /// # Errors
    /// [`SourceError`] where the coordinator does not answer or refuses the id.
    pub fn create(config: &Config, thread: u16, group: KafkaGroup) -> Result<Self, SourceError> {
        let transactional_id = format!("{}.{}.{thread}", config.kafka.group, config.worker.instance);
        let producer = EffectProducer::create(&config.kafka, Some(&transactional_id))?;
        producer.client.init_transactions(INIT_TIMEOUT).map_err(|source| {
            let doing = format!("taking over transactional id {transactional_id}");
            match &source {
                KafkaError::Transaction(error) if error.is_retriable() => SourceError::Unavailable { doing, source },
                _ => SourceError::of(doing, source),
            }
        })?;
        Ok(Self { producer, group, is_unsettled: false })
    }

    /// Ends the transaction without effect. Delivery reports have been polled by `produce`.
    fn abort(&self, doing: &'static str, reason: String, begun: Instant) -> CommitError {
        for _ in 0..STEP_ATTEMPTS {
            let failure = match self.producer.client.abort_transaction(REQUEST_TIMEOUT) {
                Ok(()) => return CommitError::Aborted { doing, reason },
                Err(KafkaError::Transaction(error)) if error.is_retriable() => continue,
                Err(failure) => failure,
            };
            let reason = format!("{reason}; abort: {failure}");
            let is_name_taken = matches!(&failure, KafkaError::Transaction(error) if is_fencing(error.code()))
                && may_only_be_a_second_worker(begun);
            return if is_name_taken {
                CommitError::Fenced { doing, reason }
            } else {
                CommitError::Unknown { doing, reason }
            };
        }
        CommitError::Unknown { doing, reason: format!("{reason}; the abort did not end in time") }
    }

    /// What the client says of itself where a second worker has taken the transactional id: whatever step met that, a
    /// delivery report among them, the client can do nothing any more, not even abort.
    fn fenced(&self, begun: Instant) -> Option<CommitError> {
        let (code, reason) = self.producer.client.client().fatal_error()?;
        let is_name_taken = is_fencing(code) && may_only_be_a_second_worker(begun);
        is_name_taken.then_some(CommitError::Fenced { doing: "committing a flush", reason })
    }

    /// Adds an offset to a transaction and aborts it, which nobody can whose transactional id was taken.
    fn prove_name(&self) -> Result<(), String> {
        let failed = |error: KafkaError| error.to_string();
        let client = &self.producer.client;
        let member = self.group.last_metadata().ok_or("the consumer is of no group")?;
        // The group takes no offset of a member that it has fenced: none is pending, not even for a moment.
        let nothing = (PartitionId::new(0), Offset::default(), CommitMetadata::of(EventTime::from_millis(0)));
        let positions = self.group.positions(std::iter::once(nothing)).map_err(failed)?;
        client.begin_transaction().map_err(failed)?;
        match client.send_offsets_to_transaction(&positions, &member, REQUEST_TIMEOUT) {
            // The id's own coordinator had let the producer add to its transaction before the group was asked.
            Err(KafkaError::Transaction(error)) if is_of_member(error.code()) => {}
            added => added.map_err(failed)?,
        }
        client.abort_transaction(REQUEST_TIMEOUT).map_err(failed)
    }

    /// Runs a step, repeating it while the client calls the failure retriable.
    fn step(&self, doing: &'static str, begun: Instant, run: impl Fn() -> Result<(), KafkaError>) -> StepResult {
        let mut last = String::new();
        for _ in 0..STEP_ATTEMPTS {
            let error = match run() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) => error,
                Err(error) => return Err(StepFailure::Unknown(doing, error.to_string())),
            };
            last = error.to_string();
            if error.is_retriable() {
                continue;
            }
            return Err(classify(doing, &error, begun));
        }
        Err(StepFailure::Unknown(doing, last))
    }
}

type StepResult = Result<(), StepFailure>;

/// How a step failed.
enum StepFailure {
    /// The transaction is to be aborted.
    Abort(&'static str, String),
    /// It is to be aborted, and would end the same way if it were repeated.
    Refused(&'static str, String),
    /// Its end is not known.
    Unknown(&'static str, String),
    /// It ends the pipeline.
    Final(CommitError),
}

/// Whether the coordinator gave the transactional id a newer epoch.
fn is_fencing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Whether the group's coordinator refuses an offset because of who sent it.
fn is_of_member(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::FencedInstanceId | Code::UnknownMemberId | Code::IllegalGeneration)
}

/// The coordinator also fences a producer whose transaction it timed out: no second worker is to blame then.
fn may_only_be_a_second_worker(begun: Instant) -> bool {
    begun.elapsed() < Duration::from_millis(TRANSACTION_TIMEOUT_MILLIS)
}

fn classify(doing: &'static str, error: &RDKafkaError, begun: Instant) -> StepFailure {
    use RDKafkaErrorCode as Code;
    let reason = error.to_string();
    match error.code() {
        // The identity taken at the beginning is over. Mostly it is this very member that has joined anew since, having
        // stalled past its session; a second worker of its name is told by the consumer itself.
        Code::FencedInstanceId if error.txn_requires_abort() => StepFailure::Abort(doing, reason),
        Code::FencedInstanceId => StepFailure::Final(CommitError::Fenced { doing, reason }),
        code if is_fencing(code) && may_only_be_a_second_worker(begun) => {
            StepFailure::Final(CommitError::Fenced { doing, reason })
        }
        Code::TransactionalIdAuthorizationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
            if error.txn_requires_abort() =>
        {
            StepFailure::Refused(doing, reason)
        }
        // Nothing was begun, or the client can do nothing any more.
        Code::TransactionalIdAuthorizationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => StepFailure::Final(CommitError::Refused { doing, reason }),
        _ if error.txn_requires_abort() => StepFailure::Abort(doing, reason),
        _ => StepFailure::Unknown(doing, reason),
    }
}

impl Committer for TransactionalCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        let Some(member) = self.group.metadata() else {
            return Err(CommitError::Aborted {
                doing: "looking who this member is",
                reason: NOT_THE_HOLDER.to_owned(),
            });
        };
        let owned: Vec<&PartitionEffects> = effects.iter().filter(|effects| is_owned(effects.partition)).collect();
        if owned.is_empty() {
            return Ok(());
        }
        let positions = self
            .group
            .positions(
                owned
                    .iter()
                    .map(|effects| (effects.partition, effects.next_offset, CommitMetadata::of(effects.watermark))),
            )
            .map_err(|error| CommitError::Refused { doing: "naming offsets", reason: error.to_string() })?;

        let begun = Instant::now();
        let client = &self.producer.client;
        let run = || {
            reach(FailPoint::TransactionBegin);
            self.step("beginning a transaction", begun, || client.begin_transaction())?;
            reach(FailPoint::TransactionProduce);
            let doing = "writing notifications and rejections";
            match self.producer.produce(owned.iter().copied()) {
                Produced::All => {}
                Produced::Failed(reason) => return Err(StepFailure::Abort(doing, reason)),
                Produced::Refused(reason) => return Err(StepFailure::Refused(doing, reason)),
            }
            reach(FailPoint::TransactionOffsets);
            self.step("adding offsets to the transaction", begun, || {
                client.send_offsets_to_transaction(&positions, &member, REQUEST_TIMEOUT)
            })?;
            reach(FailPoint::TransactionCommit);
            self.step("committing the transaction", begun, || client.commit_transaction(REQUEST_TIMEOUT))?;
            reach(FailPoint::TransactionEnd);
            Ok(())
        };
        let result = run().map_err(|failure| {
            self.fenced(begun).unwrap_or_else(|| match failure {
                StepFailure::Abort(doing, reason) => self.abort(doing, reason, begun),
                // Nothing of it may become visible, and the next try begins a transaction of its own.
                StepFailure::Refused(doing, reason) => match self.abort(doing, reason, begun) {
                    CommitError::Aborted { doing, reason } => CommitError::Refused { doing, reason },
                    failed => failed,
                },
                StepFailure::Unknown(doing, reason) => CommitError::Unknown { doing, reason },
                StepFailure::Final(error) => error,
            })
        });
        self.is_unsettled = matches!(result, Err(CommitError::Unknown { .. } | CommitError::Fenced { .. }));
        result
    }

    /// A second worker takes the transactional id before it joins the group by that name.
    fn is_name_taken(&mut self) -> bool {
        // Behind a transaction whose end is not known none can begin.
        if self.is_unsettled {
            return true;
        }
        match self.prove_name() {
            Ok(()) => false,
            Err(reason) => {
                tracing::warn!(reason, "the transactional id may be another worker's");
                true
            }
        }
    }
}
