//! Waiting for a message: parking, settling when it comes, and the end of a wait that was in vain.

use super::Turn;
use crate::event::{AppId, Epoch, Event, MessageId, PartitionId};
use crate::fold::fact::{ParkedFact, Position, RejectionFact, SettlementFact, Sink};
use crate::fold::state::conversation::Conversation;
use crate::fold::state::message::Message;
use crate::fold::state::parked::{MAX_PARKED_PER_CONVERSATION, Parked};
use crate::fold::state::slots::Slot;
use crate::fold::{Outcome, Partition};

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// A wait that is to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) conversation: Slot<Conversation>,
    /// `epoch << 48 | offset` of the record that waits.
    pub(super) order: u64,
    /// Where that record stands.
    pub(super) partition: PartitionId,
}

impl Partition {
    /// Lets a receipt or a recall wait for its message, while there is time and room.
    pub(super) fn park(&mut self, turn: &mut Turn<'_, '_>, sink: &mut impl Sink) -> Outcome {
        let event = turn.event;
        let parking_millis = i64::from(self.apps.get(turn.app).policy_at(event.at).parking_hours) * HOUR_MILLIS;
        let deadline = event.at.plus_millis(parking_millis);
        let waiting = turn.known.map_or(0, |known| self.conversations.get(known).waiting.len());
        if self.watermark > deadline || waiting >= MAX_PARKED_PER_CONVERSATION {
            return Outcome::NotFound;
        }
        let Some(parked) = Parked::new(event, turn.position, deadline) else { return Outcome::NotFound };

        let conversation = self.known_conversation(turn);
        self.deadlines.add(&parked, conversation);
        self.conversations.get_mut(conversation).waiting.push(parked);
        sink.parked(&ParkedFact { event: *event, conversation: turn.conversation, deadline, position: turn.position });
        Outcome::Parked
    }

    /// Settles what waited for a message that has just come, in log order, as of the message's place in the log.
    pub(super) fn settle_waiting(
        &mut self,
        turn: &Turn<'_, '_>,
        conversation: Slot<Conversation>,
        message: Slot<Message>,
        id: MessageId<'_>,
        sink: &mut impl Sink,
    ) {
        for parked in self.conversations.get_mut(conversation).waiting.take_for(id) {
            self.deadlines.remove(&parked, conversation);
            let event = parked.event(turn.event.app, turn.event.chat);
            let position = position_of(&parked, turn.position);
            let settled = Turn { event: &event, position, ..*turn };
            let outcome = self.judge_against(&settled, message, sink);
            give_out_settlement(&settled, outcome, sink);
            self.ledger.count_settled(turn.app, event.body.event_type(), outcome);
        }
    }

    /// Ends the waits that the watermark is past: `not_found`, as of the event that moved it.
    pub(in crate::fold) fn end_waits_that_are_over(&mut self, moved_by: Position, sink: &mut impl Sink) {
        while let Some((slot, order)) = self.deadlines.take_over(self.watermark) {
            if let Some(parked) = self.conversations.get_mut(slot).waiting.take(order) {
                self.end_in_vain(slot, &parked, moved_by, sink);
            }
        }
    }

    /// Ends one wait before its time: `not_found`, as of the record that ends it.
    pub(super) fn end_wait(&mut self, wait: Wait, ended_by: Position, sink: &mut impl Sink) {
        let slot = wait.conversation;
        if let Some(parked) = self.conversations.get_mut(slot).waiting.take(wait.order) {
            self.deadlines.remove(&parked, slot);
            self.end_in_vain(slot, &parked, ended_by, sink);
        }
    }

    fn end_in_vain(&mut self, slot: Slot<Conversation>, parked: &Parked, ended_by: Position, sink: &mut impl Sink) {
        let conversation = self.conversations.get(slot);
        let app = AppId::trusted(&self.apps.get(conversation.app).name);
        let event: Event<'_> = parked.event(app, conversation.chat());
        let turn = Turn {
            event: &event,
            conversation: conversation.key(),
            app: conversation.app,
            known: Some(slot),
            position: position_of(parked, ended_by),
        };
        give_out_settlement(&turn, Outcome::NotFound, sink);
        self.ledger.count_settled(turn.app, event.body.event_type(), Outcome::NotFound);
        self.conversations.reckon(slot);
    }
}

/// The position of a record that waited, as of the record that ended its wait.
fn position_of(parked: &Parked, ended_by: Position) -> Position {
    let (own_epoch, own_offset) = Epoch::and_offset_of(parked.order);
    Position { own_epoch, own_partition: parked.partition, own_offset, ..ended_by }
}

fn give_out_settlement(turn: &Turn<'_, '_>, outcome: Outcome, sink: &mut impl Sink) {
    sink.settlement(&SettlementFact {
        event: *turn.event,
        conversation: turn.conversation,
        outcome,
        position: turn.position,
    });
    if outcome.is_rejected() {
        sink.rejection(&RejectionFact {
            outcome,
            detail: "",
            event: Some(turn.event),
            event_type: turn.event.body.event_type(),
            conversation: Some(turn.conversation),
            received: None,
            position: turn.position,
        });
    }
}
