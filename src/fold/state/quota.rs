//! How many opened messages a group has on a day.

use smallvec::SmallVec;

use crate::event::EventTime;
use crate::fold::is_quota_day_needed;
use crate::policy::QuotaDay;

/// The opened messages of a group by local date, of the dates in the state: rarely more than a few.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quota {
    days: SmallVec<[(QuotaDay, u32); 2]>,
}

impl Quota {
    /// How many were opened on a day.
    pub(crate) fn opened(&self, day: QuotaDay) -> u32 {
        self.days.iter().find(|(date, _)| *date == day).map_or(0, |(_, opened)| *opened)
    }

    /// Counts one more.
    pub(crate) fn count(&mut self, day: QuotaDay) {
        match self.days.iter_mut().find(|(date, _)| *date == day) {
            Some((_, opened)) => *opened += 1,
            None => self.days.push((day, 1)),
        }
    }

    /// Takes one back.
    pub(crate) fn give_back(&mut self, day: QuotaDay) {
        if let Some((_, opened)) = self.days.iter_mut().find(|(date, _)| *date == day) {
            *opened = opened.saturating_sub(1);
        }
        // Restored states hold no day without messages.
        self.days.retain(|(_, opened)| *opened > 0);
    }

    /// Drops the days that have left the state.
    pub(crate) fn drop_past(&mut self, watermark: EventTime) {
        self.days.retain(|(day, _)| is_quota_day_needed(*day, watermark));
    }

    /// The days in the state.
    pub(crate) fn days(&self, watermark: EventTime) -> impl Iterator<Item = (QuotaDay, u32)> {
        self.days.iter().copied().filter(move |(day, _)| is_quota_day_needed(*day, watermark))
    }

    /// Whether no day is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Bytes outside the value's own.
    pub(crate) fn heap_bytes(&self) -> usize {
        if self.days.spilled() { self.days.capacity() * size_of::<(QuotaDay, u32)>() } else { 0 }
    }
}
