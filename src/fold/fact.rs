//! What the fold tells the world: one borrowed fact per row, notification and rejection, each as of an offset.
//!
//! The fold calls a [`Sink`] while it works, so a fact costs no allocation; the store's sink encodes rows at once, the
//! tests' sink keeps owned copies. Hydration feeds the same facts back. Which facts a record produces depends on the
//! log alone, never on batch boundaries, but for [`CountsFact`] and [`LedgerFact`], which are totals as of an offset.

use super::Outcome;
use crate::event::{
    AckId, AppId, Chat, ConversationKey, Epoch, Event, EventTime, EventType, MemberChange, MessageId, Offset,
    PartitionId, RecordTime, Role, UserId,
};
use crate::policy::{PolicyVersion, QuotaDay};

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset at which the fold produced the fact: of a settled receipt its message's, of one whose wait ended the
    /// record's that moved the watermark.
    pub offset: Offset,
    /// The offset of the record the fact is about.
    pub own_offset: Offset,
    /// The partition in which that record stands, of its own generation.
    pub own_partition: PartitionId,
    /// The generation in which that record stands: an older one where it waited through a change of topics.
    pub own_epoch: Epoch,
    /// The broker's time of the record at `offset`.
    pub record_time: RecordTime,
}

/// Which kind of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptKind {
    /// It reached the device.
    Delivered,
    /// It was read.
    Read,
}

impl ReceiptKind {
    /// The name used on the wire and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }
}

/// Whether a message is open for group receipts, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageStatus {
    /// Single, or a group message that did not ask.
    Stored,
    /// Open for group receipts.
    Opened,
    /// Refused: the feature is off.
    NotOpen,
    /// Refused: the sender may not ask.
    PermissionDenied,
    /// Refused: the group's day is used up.
    QuotaExceeded,
}

impl MessageStatus {
    /// The outcome that the message was counted under.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Stored => Outcome::Stored,
            Self::Opened => Outcome::Opened,
            Self::NotOpen => Outcome::NotOpen,
            Self::PermissionDenied => Outcome::PermissionDenied,
            Self::QuotaExceeded => Outcome::QuotaExceeded,
        }
    }
}

/// A message that was accepted; table `messages`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MessageFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// Kind of conversation.
    pub chat: Chat,
    /// The message.
    pub message: MessageId<'a>,
    /// Its `at`.
    pub sent_at: EventTime,
    /// Who sent it.
    pub sender: UserId<'a>,
    /// The peer or the group's id.
    pub to: &'a str,
    /// Whether it is open for group receipts.
    pub status: MessageStatus,
    /// How long receipts are accepted, in ms; fixed when the message is folded.
    pub validity_millis: i64,
    /// How many readers are retained; fixed when the message is folded.
    pub reader_cap: u32,
    /// The local day it is counted on; of opened messages only.
    pub quota_day: Option<QuotaDay>,
    /// Members at this point of the log without the sender; of opened messages with a known roster only.
    pub audience: Option<u32>,
    /// How many erasures of the app stand in front of it: of the same key, rows on both sides of one are two facts.
    pub erasures: u32,
    /// Where it comes from.
    pub position: Position,
}

/// A receipt that counts; table `receipts`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReceiptFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// The message.
    pub message: MessageId<'a>,
    /// The message's `at`.
    pub sent_at: EventTime,
    /// Delivered or read.
    pub kind: ReceiptKind,
    /// Who received or read.
    pub reader: UserId<'a>,
    /// When.
    pub at: EventTime,
    /// The receipt's own id.
    pub ack_id: AckId<'a>,
    /// Text sent along.
    pub content: Option<&'a str>,
    /// How many erasures of the app stand in front of it: of the same key, rows on both sides of one are two facts.
    pub erasures: u32,
    /// Where it comes from.
    pub position: Position,
}

/// A recall that was applied; table `recalls`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// The message.
    pub message: MessageId<'a>,
    /// The message's `at`.
    pub sent_at: EventTime,
    /// Who took it back.
    pub recalled_by: UserId<'a>,
    /// When.
    pub at: EventTime,
    /// The recall's own id.
    pub recall_id: AckId<'a>,
    /// How many erasures of the app stand in front of it: of the same key, rows on both sides of one are two facts.
    pub erasures: u32,
    /// Where it comes from.
    pub position: Position,
}

/// What kind of roster row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RosterChange {
    /// The head of a whole roster: from here on the roster is known; no user.
    Roster,
    /// The head of an empty roster of a destroyed group; no user.
    GroupDestroyed,
    /// A user became, ceased to be or changed as a member through the roster whose head has the same offset.
    ByRoster,
    /// A single change.
    Member(MemberChange),
}

impl RosterChange {
    /// The name used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roster => "roster",
            Self::GroupDestroyed => "group_destroyed",
            Self::ByRoster => "by_roster",
            Self::Member(change) => change.name(),
        }
    }
}

/// A row about a roster; table `roster_changes`. A roster writes a head row, and a row for each user whose membership
/// or role it changed; a single change (applied or no_change) writes one. A user's state as of an offset is his last
/// row before it; his last change time is the later of that row's `at` and the last head's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RosterFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The group's conversation.
    pub conversation: ConversationKey<'a>,
    /// What kind of row.
    pub change: RosterChange,
    /// Whose; `None` for a head.
    pub user: Option<UserId<'a>>,
    /// His role after it; `None` where he is no member, and for a head.
    pub role: Option<Role>,
    /// When it happened.
    pub at: EventTime,
    /// The change that last made him a member; `None` where he is none, and for a head.
    pub joined_at: Option<EventTime>,
    /// Where it comes from.
    pub position: Position,
}

/// An applied conversation read; table `marks`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarkFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// Kind of conversation.
    pub chat: Chat,
    /// Whose mark.
    pub reader: UserId<'a>,
    /// Up to when he has read.
    pub at: EventTime,
    /// The id of the conversation read.
    pub ack_id: AckId<'a>,
    /// Where it comes from.
    pub position: Position,
}

/// A record that waits for its message; table `parked`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParkedFact<'a> {
    /// The record: delivered, read or recall.
    pub event: Event<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// It waits while the watermark is not past this.
    pub deadline: EventTime,
    /// Where it comes from.
    pub position: Position,
}

/// The end of a wait; table `settlements`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SettlementFact<'a> {
    /// The record: delivered, read or recall.
    pub event: Event<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it comes from; what is `own` is the waiting record's.
    pub position: Position,
}

/// A control record that was applied; table `policies`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyFact<'a> {
    /// What it says.
    pub control: ControlFact<'a>,
    /// Where it comes from.
    pub position: Position,
}

/// What an applied control record says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ControlFact<'a> {
    /// A version of an app's policy.
    Policy(&'a PolicyVersion),
    /// Forget a user.
    Erase {
        /// The tenant.
        app: AppId<'a>,
        /// Number shared with the app's policy versions.
        version: u64,
        /// Who.
        user: UserId<'a>,
    },
}

/// A refused record; table and topic `rejections`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RejectionFact<'a> {
    /// Why; [`Outcome::is_rejected`] holds.
    pub outcome: Outcome,
    /// Of a malformed record the field and rule, else empty.
    pub detail: &'a str,
    /// The event, where it could be read; `None` for a malformed one.
    pub event: Option<&'a Event<'a>>,
    /// The type it is counted under.
    pub event_type: Option<EventType>,
    /// The conversation; `None` for malformed and misrouted ones.
    pub conversation: Option<ConversationKey<'a>>,
    /// Key and value as they came; `None` for a settled one, which is encoded again from `event`.
    pub received: Option<(Option<&'a [u8]>, &'a [u8])>,
    /// Where it comes from.
    pub position: Position,
}

/// One receipt to tell the sender of; grouped per message and flush by the sink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotificationFact<'a> {
    /// What is told.
    pub kind: NotificationKind,
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// Who is told: the sender of the message, or the peer of a conversation read.
    pub told: UserId<'a>,
    /// The message; `None` for a conversation read.
    pub message: Option<MessageId<'a>>,
    /// Who received or read.
    pub reader: UserId<'a>,
    /// When.
    pub at: EventTime,
    /// The receipt's own id.
    pub ack_id: AckId<'a>,
    /// Text sent along.
    pub content: Option<&'a str>,
    /// Readers of the message with this one; in groups.
    pub group_read_count: Option<u32>,
    /// Where it comes from; what is `own` is the event id.
    pub position: Position,
}

/// What a notification tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationKind {
    /// A message was delivered.
    Delivered,
    /// A message was read.
    Read,
    /// A conversation was read.
    ConversationRead,
}

impl NotificationKind {
    /// The name used on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::ConversationRead => "conversation_read",
        }
    }
}

/// Totals of a message as of the offset that last changed them; tables `message_counts` and `sender_counts`. Given out
/// once a flush for each message that changed in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountsFact<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The conversation.
    pub conversation: ConversationKey<'a>,
    /// Kind of conversation.
    pub chat: Chat,
    /// The message.
    pub message: MessageId<'a>,
    /// The message's `at`.
    pub sent_at: EventTime,
    /// Who sent it.
    pub sender: UserId<'a>,
    /// Every reader with a receipt of his own that counted.
    pub distinct: u32,
    /// The newest of them that are kept: at most the cap.
    pub retained: u32,
    /// Receivers with a delivery receipt that counted.
    pub delivered: u32,
    /// The offset that last changed them.
    pub offset: Offset,
}

/// What a ledger cell counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Records consumed, by outcome.
    Records,
    /// Ends of waits, by outcome.
    Settled,
    /// Receipts counted, by delay; the buckets are those of [`super::delay`].
    Delays,
    /// The watermark: `total` is its time in ms. App, type and outcome are empty.
    Watermark,
}

impl Measure {
    /// The name used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Settled => "settled",
            Self::Delays => "delays",
            Self::Watermark => "watermark",
        }
    }
}

/// A running total of one cell as of `next_offset`; table `ledger`. Given out once a flush for each cell that changed
/// in it, and always for the watermark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerFact<'a> {
    /// The tenant; "" for malformed records and the watermark.
    pub app: &'a str,
    /// The type's name; "" for malformed records, unknown types and the watermark.
    pub event_type: &'a str,
    /// What is counted.
    pub measure: Measure,
    /// The outcome's name; "" for delays and the watermark.
    pub outcome: &'a str,
    /// Start of the hour of record time in ms since 1970, never going back within a partition; 0 for the watermark.
    pub hour: RecordTime,
    /// The total of the cell.
    pub total: u64,
    /// Of delays the non-empty buckets in ascending order with their totals; else empty.
    pub buckets: &'a [(u16, u64)],
    /// As of this offset, exclusive.
    pub next_offset: Offset,
}

/// Takes the facts of one partition in log order.
pub trait Sink {
    /// Table `messages`.
    fn message(&mut self, fact: &MessageFact<'_>);
    /// Table `receipts`.
    fn receipt(&mut self, fact: &ReceiptFact<'_>);
    /// Table `recalls`.
    fn recall(&mut self, fact: &RecallFact<'_>);
    /// Table `roster_changes`.
    fn roster(&mut self, fact: &RosterFact<'_>);
    /// Table `marks`.
    fn mark(&mut self, fact: &MarkFact<'_>);
    /// Table `parked`.
    fn parked(&mut self, fact: &ParkedFact<'_>);
    /// Table `settlements`.
    fn settlement(&mut self, fact: &SettlementFact<'_>);
    /// Table `policies`.
    fn policy(&mut self, fact: &PolicyFact<'_>);
    /// Table and topic `rejections`.
    fn rejection(&mut self, fact: &RejectionFact<'_>);
    /// Topic `notifications`.
    fn notification(&mut self, fact: &NotificationFact<'_>);
    /// Tables `message_counts` and `sender_counts`; at the end of a flush.
    fn counts(&mut self, fact: &CountsFact<'_>);
    /// Table `ledger`; at the end of a flush, after all else.
    fn ledger(&mut self, fact: &LedgerFact<'_>);
}
