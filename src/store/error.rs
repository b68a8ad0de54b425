//! What can go wrong between seenby and ClickHouse, and what to do next.

/// A statement or a check that failed.
///
/// Two answers matter to a worker: [`StoreError::Unavailable`] is tried again with the same bytes, everything else needs
/// a person. Nothing is ever skipped.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// ClickHouse did not answer in time, or cannot take the statement now.
    #[error("ClickHouse is not available: {doing} {target}: {reason}; trying again with the same rows is safe")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// To which table or address.
        target: String,
        /// What was answered or met.
        reason: String,
    },
    /// ClickHouse refused the statement, and will refuse it again: configuration or a defect.
    #[error("ClickHouse refused {doing} {target}: {reason}; check clickhouse.* and that `seenby migrate` has run")]
    Rejected {
        /// What was being done.
        doing: &'static str,
        /// To which table or address.
        target: String,
        /// What was answered.
        reason: String,
    },
    /// ClickHouse cut a statement that took longer than it may.
    #[error(
        "ClickHouse cut {doing} {target}: {reason}; it took longer than its max_execution_time_ms (api.query, of exports api.export)"
    )]
    TooSlow {
        /// What was being done.
        doing: &'static str,
        /// To which table.
        target: String,
        /// What was answered.
        reason: String,
    },
    /// ClickHouse cut a statement that read, held or answered more than it may.
    #[error(
        "ClickHouse cut {doing} {target}: {reason}; it is more than api.query.*, or of exports api.export.*, allows"
    )]
    TooExpensive {
        /// What was being done.
        doing: &'static str,
        /// To which table.
        target: String,
        /// What was answered.
        reason: String,
    },
    /// The tables are of a later version of seenby.
    #[error("the schema in ClickHouse is at migration {found}, this seenby knows {known}: use a seenby that is as new")]
    SchemaNewer {
        /// The highest migration applied.
        found: u32,
        /// The highest that this binary has.
        known: u32,
    },
    /// The tables are of an earlier version of seenby, or were never created.
    #[error("the schema in ClickHouse lacks migration {missing}: run `seenby migrate`")]
    SchemaOlder {
        /// The lowest migration not applied.
        missing: u32,
    },
    /// A migration was applied with another text than this binary has.
    #[error(
        "migration {number} was applied with another text than this seenby has: use the seenby that created the tables"
    )]
    SchemaDiffers {
        /// Number of the migration.
        number: u32,
    },
    /// The ledger was written for another partition count of the same topic and epoch.
    #[error(
        "the ledger holds {topic} epoch {epoch} with {found} partitions, the topic now has {asked}: a topic keeps its \
         count for life; growing needs a new topic and a higher kafka.epoch"
    )]
    PartitionCount {
        /// The events topic.
        topic: String,
        /// Its generation.
        epoch: u16,
        /// How many the ledger's rows were written for.
        found: u32,
        /// How many the worker was started with.
        asked: u32,
    },
    /// The ledger holds another topic under this epoch, or rows of a later epoch.
    #[error(
        "the ledger holds {found_topic} at epoch {found_epoch}, the worker was started for {topic} at epoch {epoch}: \
         check kafka.epoch and kafka.topics.events"
    )]
    EpochTaken {
        /// The topic found.
        found_topic: String,
        /// The epoch found.
        found_epoch: u16,
        /// The topic configured.
        topic: String,
        /// The epoch configured.
        epoch: u16,
    },
    /// A row of our own tables that cannot be read back.
    #[error("a row of table {table} cannot be understood: {reason}; was it written by another version of seenby?")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A statement was given up by who asked for it.
    #[error("nobody waits for it any more")]
    Stopped,
}

impl StoreError {
    /// Whether the same statement may succeed when tried again on a fresh connection.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The failure of a statement that ClickHouse cut at one of the limits sent with it; `None` for every other failure.
    /// Memory that the whole server lacks is no limit of the statement's.
    pub(super) fn cut(
        doing: &'static str,
        target: impl Into<String>,
        error: &clickhouse::error::Error,
    ) -> Option<Self> {
        let clickhouse::error::Error::BadResponse(answer) = error else { return None };
        let code = exception_code(answer)?;
        let (target, reason) = (target.into(), error.to_string());
        if TIME_LIMIT_CODES.contains(&code) {
            return Some(Self::TooSlow { doing, target, reason });
        }
        let is_own_limit = SIZE_LIMIT_CODES.contains(&code) && !answer.contains("(total)");
        is_own_limit.then_some(Self::TooExpensive { doing, target, reason })
    }

    /// The same failure of a statement that was sent with limits: what ClickHouse cut at one of them is told from a
    /// refusal and from a server in trouble.
    pub fn of_limited_statement(self) -> Self {
        let cut = match &self {
            Self::Rejected { doing, target, reason } | Self::Unavailable { doing, target, reason } => {
                Self::cut(doing, target, &clickhouse::error::Error::BadResponse(reason.clone()))
            }
            _ => None,
        };
        cut.unwrap_or(self)
    }

    /// Sorts a failure of the client. A code of ClickHouse's own decides; without one (no connection, a proxy's page,
    /// a cut answer) the statement was not refused, so it is tried again.
    pub(super) fn classify(doing: &'static str, target: impl Into<String>, error: &clickhouse::error::Error) -> Self {
        use clickhouse::error::Error;
        let target = target.into();
        let reason = error.to_string();
        let refused = match error {
            Error::BadResponse(answer) => match exception_code(answer) {
                Some(code) => !TRANSIENT_CODES.iter().any(|(transient, _)| *transient == code),
                None => ["401 ", "403 ", "404 "].iter().any(|status| answer.starts_with(status)),
            },
            // Wrong on our side or the column types' side: the same statement fails the same way.
            Error::InvalidParams(_)
            | Error::Unsupported(_)
            | Error::SchemaMismatch(_)
            | Error::InvalidColumnsHeader(_)
            | Error::InvalidUtf8Encoding(_)
            | Error::InvalidTagEncoding(_) => true,
            _ => false,
        };
        if refused { Self::Rejected { doing, target, reason } } else { Self::Unavailable { doing, target, reason } }
    }
}

/// The number in `Code: 60. DB::Exception: …`, which every error of ClickHouse's carries.
pub(super) fn exception_code(answer: &str) -> Option<u32> {
    let (_, after) = answer.split_once("Code: ")?;
    let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
    after.get(..digits)?.parse().ok()
}

/// ClickHouse's codes of states that pass, with the names that it gives them: load, memory, disk, time-outs, replication
/// and Keeper. A disk that fills up meets a write, a new folder or file, or a flush to it, and as often the C++ library,
/// whose exceptions have one code for all. Every other code stops the worker: taking a passing fault for a lasting one
/// costs a page, the reverse hides a defect.
pub const TRANSIENT_CODES: [(u32, &str); 47] = [
    (74, "CANNOT_READ_FROM_FILE_DESCRIPTOR"),
    (75, "CANNOT_WRITE_TO_FILE_DESCRIPTOR"),
    (76, "CANNOT_OPEN_FILE"),
    (77, "CANNOT_CLOSE_FILE"),
    (88, "CANNOT_TRUNCATE_FILE"),
    (95, "CANNOT_READ_FROM_SOCKET"),
    (96, "CANNOT_WRITE_TO_SOCKET"),
    (159, "TIMEOUT_EXCEEDED"),
    (160, "TOO_SLOW"),
    (172, "CANNOT_CREATE_DIRECTORY"),
    (173, "CANNOT_ALLOCATE_MEMORY"),
    (198, "DNS_ERROR"),
    (201, "QUOTA_EXCEEDED"),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    (203, "NO_FREE_CONNECTION"),
    (204, "CANNOT_FSYNC"),
    (209, "SOCKET_TIMEOUT"),
    (210, "NETWORK_ERROR"),
    (225, "NO_ZOOKEEPER"),
    (236, "ABORTED"),
    (241, "MEMORY_LIMIT_EXCEEDED"),
    (242, "TABLE_IS_READ_ONLY"),
    (243, "NOT_ENOUGH_SPACE"),
    (244, "UNEXPECTED_ZOOKEEPER_ERROR"),
    (252, "TOO_MANY_PARTS"),
    (254, "NO_ACTIVE_REPLICAS"),
    (279, "ALL_CONNECTION_TRIES_FAILED"),
    (285, "TOO_FEW_LIVE_REPLICAS"),
    (286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE"),
    (289, "REPLICA_IS_NOT_IN_QUORUM"),
    (319, "UNKNOWN_STATUS_OF_INSERT"),
    (364, "RECEIVED_ERROR_TOO_MANY_REQUESTS"),
    (373, "SESSION_IS_LOCKED"),
    (384, "PART_IS_TEMPORARILY_LOCKED"),
    (394, "QUERY_WAS_CANCELLED"),
    (411, "PTHREAD_ERROR"),
    (416, "REPLICA_STATUS_CHANGED"),
    (425, "SYSTEM_ERROR"),
    (439, "CANNOT_SCHEDULE_TASK"),
    (473, "DEADLOCK_AVOIDED"),
    (499, "S3_ERROR"),
    (733, "TABLE_IS_BEING_RESTARTED"),
    (745, "SERVER_OVERLOADED"),
    (999, "KEEPER_EXCEPTION"),
    (1000, "POCO_EXCEPTION"),
    (1001, "STD_EXCEPTION"),
    (1002, "UNKNOWN_EXCEPTION"),
];

/// TIMEOUT_EXCEEDED and TOO_SLOW.
const TIME_LIMIT_CODES: [u32; 2] = [159, 160];

/// TOO_MANY_ROWS, MEMORY_LIMIT_EXCEEDED, TOO_MANY_BYTES and TOO_MANY_ROWS_OR_BYTES.
const SIZE_LIMIT_CODES: [u32; 4] = [158, 241, 307, 396];

#[cfg(test)]
mod tests {
    use clickhouse::error::Error;

    use super::{StoreError, exception_code};

    fn is_retryable(answer: &str) -> bool {
        StoreError::classify("writing", "messages", &Error::BadResponse(answer.to_owned())).is_retryable()
    }

    #[test]
    fn a_code_of_clickhouse_decides() {
        assert!(is_retryable("Code: 241. DB::Exception: Memory limit (total) exceeded"));
        assert!(is_retryable("Code: 252. DB::Exception: Too many parts"));
        assert!(is_retryable("Code: 75. DB::Exception: Cannot write to file, errno: 28, No space left on device"));
        assert!(is_retryable("Code: 1001. DB::Exception: std::exception. Code: 1001, filesystem error: No space left"));
        assert!(!is_retryable("Code: 60. DB::Exception: Table seenby.messages does not exist"));
        assert!(!is_retryable("Code: 516. DB::Exception: default: Authentication failed"));
        assert!(!is_retryable("Code: 65000. DB::Exception: of a version to come"));
    }

    #[test]
    fn a_statement_cut_at_its_own_limit_is_told_from_a_server_in_trouble() {
        let cut = |answer: &str| StoreError::cut("reading", "messages", &Error::BadResponse(answer.to_owned()));
        assert!(matches!(cut("Code: 159. DB::Exception: Timeout exceeded"), Some(StoreError::TooSlow { .. })));
        for answer in [
            "Code: 158. DB::Exception: Limit for rows exceeded",
            "Code: 241. DB::Exception: Query memory limit exceeded",
            "Code: 307. DB::Exception: Limit for bytes exceeded",
            "Code: 396. DB::Exception: Limit for result exceeded",
        ] {
            assert!(matches!(cut(answer), Some(StoreError::TooExpensive { .. })), "{answer}");
        }
        assert!(cut("Code: 241. DB::Exception: (total) memory limit exceeded").is_none());
        assert!(cut("Code: 60. DB::Exception: Table does not exist").is_none());
        assert!(cut("502 Bad Gateway").is_none());

        let sorted = |answer: &str| StoreError::classify("reading", "messages", &Error::BadResponse(answer.to_owned()));
        let limited = sorted("Code: 396. DB::Exception: Limit for result exceeded").of_limited_statement();
        assert!(matches!(limited, StoreError::TooExpensive { .. }), "{limited}");
        let refused = sorted("Code: 60. DB::Exception: Table does not exist").of_limited_statement();
        assert!(matches!(refused, StoreError::Rejected { .. }), "{refused}");
    }

    #[test]
    fn an_answer_without_a_code_is_not_clickhouse_speaking() {
        assert!(is_retryable("502 Bad Gateway"));
        assert!(is_retryable("<html>upstream connect error</html>"));
        assert!(!is_retryable("403 Forbidden"));
        assert!(!is_retryable("404 Not Found"));
    }

    #[test]
    fn a_connection_that_breaks_is_tried_again() {
        for error in [Error::TimedOut, Error::Network("reset".into()), Error::NotEnoughData] {
            assert!(StoreError::classify("reading", "ledger", &error).is_retryable(), "{error}");
        }
    }

    #[test]
    fn the_code_is_found_wherever_it_stands() {
        assert_eq!(exception_code("Code: 60. DB::Exception: …"), Some(60));
        assert_eq!(exception_code("Code: 60"), Some(60));
        assert_eq!(exception_code("no code"), None);
        assert_eq!(exception_code("Code: x"), None);
    }
}
