//! Receipts and recalls that wait for their message.

use std::collections::BTreeSet;

use super::conversation::Conversation;
use super::slots::Slot;
use crate::event::{AckId, AppId, Body, Chat, Event, EventTime, MessageId, PartitionId, UserId};
use crate::fold::fact::Position;

/// At most so many records of one conversation wait at a time (DESIGN.md section 4).
pub const MAX_PARKED_PER_CONVERSATION: usize = 1_000;

/// A record that waits, with its texts in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    /// `epoch << 48 | offset` of the record: the order of the log.
    pub(crate) order: u64,
    /// Where the record stands in its own generation.
    pub(crate) partition: PartitionId,
    /// It waits while the watermark is not past this.
    pub(crate) deadline: EventTime,
    at: EventTime,
    kind: Kind,
    has_content: bool,
    /// Ends of id, from, to and message in `texts`; the content is the rest.
    ends: [u16; 4],
    texts: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delivered,
    Read,
    Recall,
}

impl Parked {
    /// Keeps a delivered, read or recall event that stands where `position` says is its own; `None` for any other.
    pub(crate) fn new(event: &Event<'_>, position: Position, deadline: EventTime) -> Option<Self> {
        let (kind, message, content) = match event.body {
            Body::Delivered { message } => (Kind::Delivered, message, None),
            Body::Read { message, content } => (Kind::Read, message, content),
            Body::Recall { message } => (Kind::Recall, message, None),
            _ => return None,
        };
        let pieces = [event.id.as_str(), event.from.as_str(), event.to, message.as_str(), content.unwrap_or_default()];
        let mut texts = String::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        let mut ends = [0; 4];
        for (piece, end) in pieces.iter().zip(ends.iter_mut()) {
            texts.push_str(piece);
            // Four ids of at most 128 bytes.
            *end = texts.len() as u16;
        }
        texts.push_str(content.unwrap_or_default());
        Some(Self {
            order: position.own_epoch.order(position.own_offset),
            partition: position.own_partition,
            deadline,
            at: event.at,
            kind,
            has_content: content.is_some(),
            ends,
            texts: texts.into_boxed_str(),
        })
    }

    /// The event as it came.
    pub(crate) fn event<'a>(&'a self, app: AppId<'a>, chat: Chat) -> Event<'a> {
        let [id_end, from_end, to_end, message_end] = self.ends;
        let message = self.message();
        let body = match self.kind {
            Kind::Delivered => Body::Delivered { message },
            Kind::Read => {
                let content = self.text(message_end, self.texts.len() as u16);
                Body::Read { message, content: self.has_content.then_some(content) }
            }
            Kind::Recall => Body::Recall { message },
        };
        Event {
            app,
            chat,
            id: AckId::trusted(self.text(0, id_end)),
            from: UserId::trusted(self.text(id_end, from_end)),
            to: self.text(from_end, to_end),
            at: self.at,
            body,
        }
    }

    /// Who acts.
    pub(crate) fn from(&self) -> UserId<'_> {
        let [id_end, from_end, ..] = self.ends;
        UserId::trusted(self.text(id_end, from_end))
    }

    /// The message it waits for.
    pub(crate) fn message(&self) -> MessageId<'_> {
        let [_, _, to_end, message_end] = self.ends;
        MessageId::trusted(self.text(to_end, message_end))
    }

    fn text(&self, start: u16, end: u16) -> &str {
        self.texts.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }
}

/// The waiting records of one conversation, in log order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    records: Vec<Parked>,
    text_bytes: usize,
}

impl Waiting {
    /// Adds a record that is later in the log than all others.
    pub(crate) fn push(&mut self, parked: Parked) {
        debug_assert!(self.records.last().is_none_or(|last| last.order < parked.order), "records come in log order");
        self.text_bytes += parked.texts.len();
        self.records.push(parked);
    }

    /// Adds a record wherever it stands in the log, unless it is there.
    pub(crate) fn restore(&mut self, parked: Parked) -> bool {
        let Err(place) = self.records.binary_search_by_key(&parked.order, |waiting| waiting.order) else {
            return false;
        };
        self.text_bytes += parked.texts.len();
        self.records.insert(place, parked);
        true
    }

    /// Takes out what waits for a message, in log order.
    pub(crate) fn take_for(&mut self, message: MessageId<'_>) -> Vec<Parked> {
        if self.records.is_empty() {
            return Vec::new();
        }
        let taken: Vec<Parked> = self.records.extract_if(.., |parked| parked.message() == message).collect();
        self.note_taken(&taken);
        taken
    }

    /// Takes out one record.
    pub(crate) fn take(&mut self, order: u64) -> Option<Parked> {
        let place = self.records.binary_search_by_key(&order, |parked| parked.order).ok()?;
        let taken = self.records.remove(place);
        self.note_taken(std::slice::from_ref(&taken));
        Some(taken)
    }

    /// All of them, in log order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.records.iter()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes outside the value's own.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Parked>() + self.text_bytes
    }

    fn note_taken(&mut self, taken: &[Parked]) {
        self.text_bytes -= taken.iter().map(|parked| parked.texts.len()).sum::<usize>();
        if self.records.is_empty() {
            self.records = Vec::new();
        }
    }
}

/// When each wait of the partition ends.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines {
    /// In the order in which waits end that end at the same event.
    waits: BTreeSet<Wait>,
    /// The first of them, so that an event that ends no wait costs one comparison.
    earliest: EventTime,
}

/// A wait by deadline, then by own place in the log; partitions of older generations share offsets.
type Wait = (EventTime, u64, PartitionId, Slot<Conversation>);

/// Later than any deadline: those saturate below it.
const NO_DEADLINE: EventTime = EventTime::from_millis(i64::MAX);

impl Default for Deadlines {
    fn default() -> Self {
        Self { waits: BTreeSet::new(), earliest: NO_DEADLINE }
    }
}

impl Deadlines {
    /// Notes a wait.
    pub(crate) fn add(&mut self, parked: &Parked, conversation: Slot<Conversation>) {
        self.waits.insert((parked.deadline, parked.order, parked.partition, conversation));
        self.earliest = self.earliest.min(parked.deadline);
    }

    /// Forgets a wait that ended otherwise.
    pub(crate) fn remove(&mut self, parked: &Parked, conversation: Slot<Conversation>) {
        self.waits.remove(&(parked.deadline, parked.order, parked.partition, conversation));
        self.note_earliest();
    }

    /// Takes out the first wait that the watermark is past.
    pub(crate) fn take_over(&mut self, watermark: EventTime) -> Option<(Slot<Conversation>, u64)> {
        if watermark <= self.earliest {
            return None;
        }
        let (_, order, _, conversation) = self.waits.pop_first()?;
        self.note_earliest();
        Some((conversation, order))
    }

    /// How many wait in the partition.
    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }

    /// Bytes held, as the entries' own.
    pub(crate) fn bytes(&self) -> usize {
        self.waits.len() * size_of::<Wait>()
    }

    fn note_earliest(&mut self) {
        self.earliest = self.waits.first().map_or(NO_DEADLINE, |(deadline, ..)| *deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Offset, RecordTime};

    fn standing_at(offset: u64, partition: u32) -> Position {
        Position {
            offset: Offset::new(offset),
            own_offset: Offset::new(offset),
            own_partition: PartitionId::new(partition),
            own_epoch: Epoch::new(0),
            record_time: RecordTime::from_millis(0),
        }
    }

    fn read<'a>(id: &'a str, message: &'a str, content: Option<&'a str>) -> Event<'a> {
        Event {
            app: AppId::trusted("org#app"),
            chat: Chat::Group,
            id: AckId::trusted(id),
            from: UserId::trusted("alice"),
            to: "group",
            at: EventTime::from_millis(7),
            body: Body::Read { message: MessageId::trusted(message), content },
        }
    }

    #[test]
    fn a_waiting_event_comes_back_as_it_was() {
        for content in [None, Some(""), Some("grüße")] {
            let event = read("r1", "m1", content);
            let parked = Parked::new(&event, standing_at(1, 0), EventTime::from_millis(9)).expect("a read may wait");
            assert_eq!(parked.event(event.app, event.chat), event);
        }
    }

    #[test]
    fn what_waits_for_a_message_is_taken_in_log_order() {
        let mut waiting = Waiting::default();
        for (order, message) in [(4, "m1"), (1, "m1"), (3, "m2"), (2, "m1"), (4, "m1")] {
            let event = read("r", message, None);
            let parked = Parked::new(&event, standing_at(order, 0), EventTime::from_millis(9)).expect("may wait");
            waiting.restore(parked);
        }
        let taken = waiting.take_for(MessageId::trusted("m1"));
        assert_eq!(taken.iter().map(|parked| parked.order).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(waiting.len(), 1);
        assert!(waiting.take(3).is_some());
        assert_eq!(waiting.heap_bytes(), 0);
    }

    #[test]
    fn waits_end_by_deadline_then_by_place_in_the_log() {
        let mut deadlines = Deadlines::default();
        for (deadline, order) in [(20, 1), (10, 3), (10, 2), (30, 4)] {
            let parked = Parked::new(&read("r", "m", None), standing_at(order, 0), EventTime::from_millis(deadline));
            deadlines.add(&parked.expect("may wait"), Slot::from_number(0));
        }
        assert_eq!(deadlines.take_over(EventTime::from_millis(10)), None);
        let over = |deadlines: &mut Deadlines| deadlines.take_over(EventTime::from_millis(21)).map(|(_, order)| order);
        assert_eq!(over(&mut deadlines), Some(2));
        assert_eq!(over(&mut deadlines), Some(3));
        assert_eq!(over(&mut deadlines), Some(1));
        assert_eq!(over(&mut deadlines), None);
        assert_eq!(deadlines.len(), 1);
    }

    #[test]
    fn waits_of_the_same_offset_end_by_partition_in_whatever_order_they_were_read_back() {
        let mut deadlines = Deadlines::default();
        for (slot, partition) in [(0, 2), (1, 0), (2, 1)] {
            let parked = Parked::new(&read("r", "m", None), standing_at(7, partition), EventTime::from_millis(9));
            deadlines.add(&parked.expect("may wait"), Slot::from_number(slot));
        }
        let over = std::iter::from_fn(|| deadlines.take_over(EventTime::from_millis(10)));
        assert_eq!(over.map(|(conversation, _)| conversation.number()).collect::<Vec<_>>(), [1, 2, 0]);
    }
}
