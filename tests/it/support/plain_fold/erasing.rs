//! Erasures, as the plain fold reads them: a user is a stranger from here on, and his single chats never were.

use super::{LATENESS, PlainFold, Waiting};

impl PlainFold {
    pub(super) fn erase(&mut self, partition: u32, app: &str, user: &str) {
        let is_his = |parked: &Waiting| {
            let event = &parked.event;
            event.app == app && (event.from == user || (!event.is_group && event.to == user))
        };
        let state = self.partitions.entry(partition).or_default();
        let his = state.waiting.iter().filter(|(_, parked)| is_his(parked));
        let ended: Vec<u64> = his.map(|(own_offset, _)| *own_offset).collect();
        for own_offset in ended {
            let parked = self.partitions.get_mut(&partition).unwrap().waiting.remove(&own_offset).unwrap();
            self.note_settled(partition, own_offset, &parked.event, "not_found");
        }

        let (single_chats, groups) = (format!("{app}/u/"), format!("{app}/g/"));
        let is_his_chat =
            |key: &str| key.strip_prefix(&single_chats).is_some_and(|sides| sides.split('/').any(|side| side == user));
        let state = self.partitions.get_mut(&partition).unwrap();
        for life in self.lives.iter_mut().filter(|life| life.partition == partition && !life.is_forgotten) {
            let is_in_state = state.watermark <= life.sent_at + life.validity + LATENESS;
            if is_his_chat(&life.conversation) {
                life.is_forgotten = true;
            } else if life.conversation.starts_with(&groups) && life.sender == user {
                life.is_forgotten = true;
                if let Some(day) = life.quota_day {
                    // The place that it took on its day is free again.
                    *state.conversations.get_mut(&life.conversation).unwrap().opened.get_mut(&day).unwrap() -= 1;
                }
            } else if life.conversation.starts_with(&groups) {
                for receipt in life.receipts.iter_mut().filter(|receipt| receipt.reader == user) {
                    receipt.is_forgotten = true;
                    receipt.is_counted &= !is_in_state;
                }
            }
        }
        let lives = &self.lives;
        state.conversations.retain(|key, _| !is_his_chat(key));
        for (_, conversation) in state.conversations.iter_mut().filter(|(key, _)| key.starts_with(&groups)) {
            conversation.users.remove(user);
            conversation.marks.remove(user);
            conversation.messages.retain(|_, life| !lives[*life].is_forgotten);
        }
        for mark in self.marks.iter_mut().filter(|mark| mark.partition == partition) {
            let is_in_group = mark.conversation.starts_with(&groups) && mark.reader == user;
            mark.is_forgotten |= is_in_group || is_his_chat(&mark.conversation);
        }
    }
}
