//! Section 4, rule by rule, as the plain fold reads it.

use super::policy::PlainPolicy;
use super::reading::PlainEvent;
use super::{
    Conversation, DAY, HOUR, LATENESS, Life, LogRecord, MOST_PARKED, MOST_SKEW, Mark, Notification, PlainFold, Receipt,
    Rejection, Waiting, is_rejected, partition_of,
};

/// Where in the log something is judged.
#[derive(Clone, Copy)]
struct Place {
    partition: u32,
    /// The offset as of which it is judged.
    offset: u64,
    /// The offset of the record itself.
    own_offset: u64,
}

impl PlainFold {
    pub(super) fn event(&mut self, record: &LogRecord<'_>, event: &PlainEvent) -> &'static str {
        let key = event.conversation();
        let is_here = partition_of(key.as_bytes(), self.partition_count) == record.partition;
        if record.key != Some(key.as_bytes()) || !is_here {
            return "misrouted";
        }
        if record.time.is_some_and(|time| event.at > time + MOST_SKEW) {
            return "skewed";
        }
        if !event.is_supported {
            return "unsupported";
        }

        let place = Place { partition: record.partition, offset: record.offset, own_offset: record.offset };
        let state = self.partitions.entry(record.partition).or_default();
        state.watermark = state.watermark.max(event.at);
        state.conversations.entry(key.clone()).or_default();
        self.end_waits(place);
        match event.event_type.as_str() {
            "message" => self.message(place, &key, event),
            "conversation_read" => self.conversation_read(place, &key, event),
            "member" => self.member(place, &key, event),
            "roster" | "group_destroyed" => self.roster(place, &key, event),
            _ => self.about_message(place, &key, event),
        }
    }

    fn conversation(&mut self, place: Place, key: &str) -> &mut Conversation {
        self.partitions.get_mut(&place.partition).unwrap().conversations.get_mut(key).unwrap()
    }

    /// The policy in force for `at`, of the versions met so far in this partition.
    fn policy(&self, place: Place, app: &str, at: i64) -> PlainPolicy {
        let met = self.partitions[&place.partition].policies.get(app).into_iter().flatten();
        let in_force = met.filter(|policy| policy.effective_from <= at);
        in_force.max_by_key(|policy| (policy.effective_from, policy.version)).cloned().unwrap_or_default()
    }

    fn is_too_late(&self, place: Place, at: i64) -> bool {
        self.watermark(place.partition) > at + LATENESS
    }

    /// The message of an id, while it is in the state.
    fn find(&self, place: Place, key: &str, message: &str) -> Option<usize> {
        let state = &self.partitions[&place.partition];
        let life = *state.conversations.get(key)?.messages.get(message)?;
        let leaves_after = self.lives[life].sent_at + self.lives[life].validity + LATENESS;
        (state.watermark <= leaves_after).then_some(life)
    }

    fn message(&mut self, place: Place, key: &str, event: &PlainEvent) -> &'static str {
        if self.find(place, key, &event.id).is_some() {
            return "duplicate";
        }
        if self.is_too_late(place, event.at) {
            return "too_late";
        }
        let policy = self.policy(place, &event.app, event.at);
        let day = policy.local_day(event.at);
        let status = if event.is_group && event.receipt { self.open(place, key, event, &policy) } else { "stored" };
        let is_opened = status == "opened";
        let conversation = self.conversation(place, key);
        let audience = (is_opened && conversation.roster_at.is_some()).then(|| {
            let members =
                conversation.users.iter().filter(|(user, standing)| standing.role.is_some() && **user != event.from);
            let mut audience: Vec<String> = members.map(|(user, _)| user.clone()).collect();
            audience.sort();
            audience
        });
        if is_opened {
            *conversation.opened.entry(day).or_default() += 1;
        }

        let number = self.lives.len();
        self.conversation(place, key).messages.insert(event.id.clone(), number);
        self.lives.push(Life {
            app: event.app.clone(),
            conversation: key.to_owned(),
            message: event.id.clone(),
            sent_at: event.at,
            is_group: event.is_group,
            sender: event.from.clone(),
            to: event.to.clone(),
            status,
            validity: DAY * if event.is_group { policy.group_validity_days } else { policy.single_validity_days },
            reader_cap: if event.is_group { policy.readers_per_message } else { 1 },
            quota_day: is_opened.then_some(day),
            audience,
            receipts: Vec::new(),
            recalled: None,
            read_by_mark: None,
            is_forgotten: false,
            partition: place.partition,
            offset: place.offset,
        });
        if !event.is_group && event.from != event.to {
            let mark = self.conversation(place, key).marks.get(&event.to).copied();
            if let Some(mark) = mark {
                self.read_by_mark(number, mark);
            }
        }
        self.settle(place, key, event, number);
        status
    }

    fn open(&mut self, place: Place, key: &str, event: &PlainEvent, policy: &PlainPolicy) -> &'static str {
        let watermark = self.watermark(place.partition);
        let conversation = self.conversation(place, key);
        if !policy.open {
            return "not_open";
        }
        let known_role = event.role.clone().or_else(|| conversation.users.get(&event.from)?.role.clone());
        let is_allowed = match known_role.as_deref() {
            Some("owner" | "admin") => true,
            Some(_) => policy.senders == "members",
            None if conversation.roster_at.is_none() && policy.unknown_sender == "allow" => true,
            None => policy.senders == "members",
        };
        if !is_allowed {
            return "permission_denied";
        }
        let day = policy.local_day(event.at);
        let is_day_in_state = watermark <= (day + 5) * DAY;
        let opened = if is_day_in_state { conversation.opened.get(&day).copied().unwrap_or(0) } else { 0 };
        if opened >= policy.messages_per_day { "quota_exceeded" } else { "opened" }
    }

    /// What waited for a message gets its outcome, in log order.
    fn settle(&mut self, place: Place, key: &str, message: &PlainEvent, life: usize) {
        let waiting = &mut self.partitions.get_mut(&place.partition).unwrap().waiting;
        let is_for_it = |parked: &Waiting| parked.conversation == key && parked.event.message == message.id;
        let offsets: Vec<u64> =
            waiting.iter().filter(|(_, parked)| is_for_it(parked)).map(|(offset, _)| *offset).collect();
        for own_offset in offsets {
            let parked = self.partitions.get_mut(&place.partition).unwrap().waiting.remove(&own_offset).unwrap();
            let outcome = self.judge(Place { own_offset, ..place }, key, &parked.event, life);
            self.note_settled(place.partition, own_offset, &parked.event, outcome);
        }
    }

    /// Waits that the watermark is past end.
    fn end_waits(&mut self, place: Place) {
        let state = self.partitions.get_mut(&place.partition).unwrap();
        let watermark = state.watermark;
        let over: Vec<u64> =
            state.waiting.iter().filter(|(_, parked)| watermark > parked.deadline).map(|(offset, _)| *offset).collect();
        for own_offset in over {
            let parked = self.partitions.get_mut(&place.partition).unwrap().waiting.remove(&own_offset).unwrap();
            self.note_settled(place.partition, own_offset, &parked.event, "not_found");
        }
    }

    pub(super) fn note_settled(&mut self, partition: u32, own_offset: u64, event: &PlainEvent, outcome: &'static str) {
        *self.settled.entry((event.app.clone(), event.event_type.clone(), outcome)).or_default() += 1;
        if is_rejected(outcome) {
            self.rejections.push(Rejection { outcome, partition, own_offset, is_settled: true });
        }
    }

    /// delivered, read and recall.
    fn about_message(&mut self, place: Place, key: &str, event: &PlainEvent) -> &'static str {
        if let Some(life) = self.find(place, key, &event.message) {
            return self.judge(place, key, event, life);
        }
        let deadline = event.at + HOUR * self.policy(place, &event.app, event.at).parking_hours;
        let state = self.partitions.get_mut(&place.partition).unwrap();
        let parked = state.waiting.values().filter(|parked| parked.conversation == key).count();
        if state.watermark > deadline || parked >= MOST_PARKED {
            return "not_found";
        }
        let waiting = Waiting { conversation: key.to_owned(), event: event.clone(), deadline };
        state.waiting.insert(place.own_offset, waiting);
        "parked"
    }

    fn judge(&mut self, place: Place, key: &str, event: &PlainEvent, number: usize) -> &'static str {
        if event.event_type == "recall" {
            let life = &mut self.lives[number];
            if life.recalled.is_some() {
                return "duplicate";
            }
            life.recalled = Some((event.from.clone(), event.at, event.id.clone()));
            return "applied";
        }

        let kind = if event.event_type == "read" { "read" } else { "delivered" };
        let conversation = self.conversation(place, key);
        let is_member = conversation.roster_at.is_none()
            || conversation.users.get(&event.from).is_some_and(|standing| standing.role.is_some());
        let life = &self.lives[number];
        let has_counted = life.of_kind(kind).any(|receipt| receipt.reader == event.from);
        if event.from == life.sender {
            return "own_message";
        }
        if has_counted || (kind == "read" && life.read_by_mark.is_some()) {
            return "duplicate";
        }
        if life.recalled.is_some() {
            return "recalled";
        }
        if life.is_group && life.status != "opened" {
            return "not_requested";
        }
        if event.at - life.sent_at > life.validity {
            return "expired";
        }
        if life.is_group && !is_member {
            return "not_member";
        }
        self.count(place, event, kind, number);
        "counted"
    }

    fn count(&mut self, place: Place, event: &PlainEvent, kind: &'static str, number: usize) {
        let notify = self.policy(place, &event.app, event.at).notify;
        let life = &mut self.lives[number];
        life.receipts.push(Receipt {
            kind,
            at: event.at,
            ack_id: event.id.clone(),
            reader: event.from.clone(),
            content: event.content.clone(),
            own_offset: place.own_offset,
            is_forgotten: false,
            is_counted: true,
        });
        let group_read_count = life.is_group.then(|| life.distinct());
        let delay = (event.at - life.sent_at).max(0);
        let (conversation, message) = (life.conversation.clone(), Some(life.message.clone()));
        let key = format!("{}/{}", life.app, life.sender);
        self.delays.entry((event.app.clone(), kind)).or_default().push(delay);
        if notify {
            self.tell(place, event, Notification { group_read_count, ..told(kind, conversation, message, key) });
        }
    }

    fn tell(&mut self, place: Place, event: &PlainEvent, notification: Notification) {
        self.notifications.push(Notification {
            reader: event.from.clone(),
            at: event.at,
            ack_id: event.id.clone(),
            content: event.content.clone(),
            partition: place.partition,
            own_offset: place.own_offset,
            ..notification
        });
    }

    fn conversation_read(&mut self, place: Place, key: &str, event: &PlainEvent) -> &'static str {
        if self.is_too_late(place, event.at) {
            return "too_late";
        }
        let watermark = self.watermark(place.partition);
        let marks = &mut self.conversation(place, key).marks;
        marks.retain(|_, at| watermark <= *at + LATENESS);
        if marks.get(&event.from).is_some_and(|mark| event.at <= *mark) {
            return "no_change";
        }
        marks.insert(event.from.clone(), event.at);
        self.marks.push(Mark {
            conversation: key.to_owned(),
            reader: event.from.clone(),
            at: event.at,
            ack_id: event.id.clone(),
            partition: place.partition,
            offset: place.offset,
            is_forgotten: false,
        });
        if event.is_group || event.from == event.to {
            return "applied";
        }

        let ids: Vec<String> = self.conversation(place, key).messages.keys().cloned().collect();
        for id in ids {
            if let Some(life) = self.find(place, key, &id)
                && self.lives[life].sender != event.from
            {
                self.read_by_mark(life, event.at);
            }
        }
        if self.policy(place, &event.app, event.at).notify {
            let peer = format!("{}/{}", event.app, event.to);
            self.tell(place, event, told("conversation_read", key.to_owned(), None, peer));
        }
        "applied"
    }

    /// A mark reads a message of a single chat that it covers.
    fn read_by_mark(&mut self, number: usize, mark: i64) {
        let life = &mut self.lives[number];
        let is_unread = life.distinct() == 0 && life.read_by_mark.is_none() && life.recalled.is_none();
        let is_covered = life.sent_at <= mark && mark - life.sent_at <= life.validity;
        if is_unread && is_covered {
            life.read_by_mark = Some(mark);
            let (app, delay) = (life.app.clone(), mark - life.sent_at);
            self.delays.entry((app, "conversation_read")).or_default().push(delay);
        }
    }

    fn member(&mut self, place: Place, key: &str, event: &PlainEvent) -> &'static str {
        let conversation = self.conversation(place, key);
        let roster_at = conversation.roster_at;
        let standing = conversation.users.entry(event.user.clone()).or_default();
        if standing.changed_at.max(roster_at).is_some_and(|changed_at| event.at < changed_at) {
            return "stale";
        }
        standing.changed_at = Some(event.at);
        let role = match event.change.as_str() {
            "join" => standing.role.clone().or(Some("member".to_owned())),
            "leave" => None,
            role => Some(role.to_owned()),
        };
        if standing.set_role(role, event.at) { "applied" } else { "no_change" }
    }

    fn roster(&mut self, place: Place, key: &str, event: &PlainEvent) -> &'static str {
        let conversation = self.conversation(place, key);
        if conversation.roster_at.is_some_and(|last| event.at < last) {
            return "stale";
        }
        for (user, _) in &event.members {
            conversation.users.entry(user.clone()).or_default();
        }
        let mut has_changed = conversation.roster_at.is_none();
        for (user, standing) in &mut conversation.users {
            let is_newer = standing.changed_at.is_some_and(|changed_at| changed_at > event.at);
            if !is_newer {
                let named = event.members.iter().find(|(member, _)| member == user);
                has_changed |= standing.set_role(named.map(|(_, role)| role.clone()), event.at);
            }
        }
        conversation.roster_at = Some(event.at);
        if has_changed { "applied" } else { "no_change" }
    }
}

impl super::GroupUser {
    /// Sets or ends the membership; whether that changed anything.
    fn set_role(&mut self, role: Option<String>, at: i64) -> bool {
        if self.role == role {
            return false;
        }
        match (&self.role, &role) {
            (None, Some(_)) => self.joined_at = Some(at),
            (_, None) => self.joined_at = None,
            _ => {}
        }
        self.role = role;
        true
    }
}

/// A notification whose receipt's fields are yet to be filled in.
fn told(kind: &'static str, conversation: String, message: Option<String>, key: String) -> Notification {
    Notification {
        kind,
        conversation,
        message,
        key,
        reader: String::new(),
        at: 0,
        ack_id: String::new(),
        content: None,
        partition: 0,
        own_offset: 0,
        group_read_count: None,
    }
}
