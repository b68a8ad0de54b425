//! The one table from an outcome to its name, the client's words and the client's code.

/// What became of a record, or of a parked one when it was settled (DESIGN.md section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Not a valid record of section 2.
    Malformed,
    /// The key is not the conversation key, or does not belong to this partition.
    Misrouted,
    /// `at` is more than five minutes after the record's time.
    Skewed,
    /// Unknown type, or a type that this kind of chat does not have.
    Unsupported,
    /// Met before: message id, reader and kind, recall, or control version. The first stays.
    Duplicate,
    /// The watermark is more than LATENESS ahead of `at`.
    TooLate,
    /// A message that asks for no group receipts.
    Stored,
    /// A group message open for receipts.
    Opened,
    /// A group message refused receipts: the feature is off.
    NotOpen,
    /// A group message refused receipts: the sender may not ask.
    PermissionDenied,
    /// A group message refused receipts: the group's day is used up.
    QuotaExceeded,
    /// A receipt of one's own message.
    OwnMessage,
    /// A receipt of a recalled message.
    Recalled,
    /// A receipt of a group message that is not open for receipts.
    NotRequested,
    /// A receipt after the message's validity.
    Expired,
    /// A receipt of somebody who is not in the known roster.
    NotMember,
    /// A receipt that counts.
    Counted,
    /// Waits for its message.
    Parked,
    /// Its message never came in time, or too many were waiting.
    NotFound,
    /// A change that changed something.
    Applied,
    /// A change to what already was so.
    NoChange,
    /// A change older than the last one of that user.
    Stale,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 22] = [
        Self::Malformed,
        Self::Misrouted,
        Self::Skewed,
        Self::Unsupported,
        Self::Duplicate,
        Self::TooLate,
        Self::Stored,
        Self::Opened,
        Self::NotOpen,
        Self::PermissionDenied,
        Self::QuotaExceeded,
        Self::OwnMessage,
        Self::Recalled,
        Self::NotRequested,
        Self::Expired,
        Self::NotMember,
        Self::Counted,
        Self::Parked,
        Self::NotFound,
        Self::Applied,
        Self::NoChange,
        Self::Stale,
    ];

    /// The name in tables, headers, metrics and problem documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Misrouted => "misrouted",
            Self::Skewed => "skewed",
            Self::Unsupported => "unsupported",
            Self::Duplicate => "duplicate",
            Self::TooLate => "too_late",
            Self::Stored => "stored",
            Self::Opened => "opened",
            Self::NotOpen => "not_open",
            Self::PermissionDenied => "permission_denied",
            Self::QuotaExceeded => "quota_exceeded",
            Self::OwnMessage => "own_message",
            Self::Recalled => "recalled",
            Self::NotRequested => "not_requested",
            Self::Expired => "expired",
            Self::NotMember => "not_member",
            Self::Counted => "counted",
            Self::Parked => "parked",
            Self::NotFound => "not_found",
            Self::Applied => "applied",
            Self::NoChange => "no_change",
            Self::Stale => "stale",
        }
    }

    /// The outcome of a name, as read back from tables.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// What the vendor's client shows and its number, for the outcomes that it knows (DESIGN.md section 4).
    pub const fn client_error(self) -> Option<ClientError> {
        match self {
            Self::NotOpen => Some(ClientError { words: "group ack msg not open", code: 505 }),
            Self::PermissionDenied => Some(ClientError { words: "group ack msg permission denied", code: 603 }),
            Self::Expired | Self::NotRequested | Self::NotFound => {
                Some(ClientError { words: "group ack msg not found", code: 506 })
            }
            Self::QuotaExceeded => Some(ClientError { words: "limit send group ack msg", code: 4 }),
            _ => None,
        }
    }

    /// Whether a record of this outcome goes to the rejections topic and table (DESIGN.md section 6). The others stand
    /// in the ledger alone: one refused message in a group of 500 would make 500 more.
    pub const fn is_rejected(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::Misrouted
                | Self::Skewed
                | Self::Unsupported
                | Self::TooLate
                | Self::NotOpen
                | Self::PermissionDenied
                | Self::QuotaExceeded
                | Self::Expired
                | Self::NotFound
                | Self::NotMember
                | Self::Recalled
        )
    }
}

/// The vendor's words and number for a refusal in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// The words of the vendor's client.
    pub words: &'static str,
    /// The number of the vendor's client.
    pub code: u16,
}
