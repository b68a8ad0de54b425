//! Keeps an insert within the table partitions that ClickHouse takes at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::rows::TableRows;

/// ClickHouse refuses an insert that touches more table partitions than this (max_partitions_per_insert_block).
pub(super) const MAX_TABLE_PARTITIONS: usize = 100;

/// The inserts that a table's rows make: none for no rows, one in all but backfills over years. Rows of more weeks are
/// put together by week, so that no two of the inserts write to the same table partition.
pub(super) fn inserts(rows: &TableRows) -> Vec<Cow<'_, [u8]>> {
    if rows.rows() == 0 {
        return Vec::new();
    }
    let weeks: BTreeSet<u16> = rows.marks().iter().map(|mark| mark.week).collect();
    if weeks.len() <= MAX_TABLE_PARTITIONS {
        return vec![Cow::Borrowed(rows.bytes())];
    }
    let mut rows_by_week: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut rest = rows.bytes();
    for mark in rows.marks() {
        let (row, after) = rest.split_at(mark.length as usize);
        rows_by_week.entry(mark.week).or_default().extend_from_slice(row);
        rest = after;
    }
    let weeks: Vec<Vec<u8>> = rows_by_week.into_values().collect();
    weeks.chunks(MAX_TABLE_PARTITIONS).map(|weeks| Cow::Owned(weeks.concat())).collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{MAX_TABLE_PARTITIONS, inserts};
    use crate::event::{
        AckId, AppId, Chat, ConversationKey, Epoch, EventTime, Offset, PartitionId, RecordTime, UserId,
    };
    use crate::fold::fact::{MarkFact, Position, Sink as _};
    use crate::policy::DAY_MILLIS;
    use crate::store::{RowBatch, Table, TopicIdentity};

    /// One mark a week, in the order given.
    fn marks(weeks: impl Iterator<Item = i64>) -> RowBatch {
        let mut batch = RowBatch::new(TopicIdentity { topic: "t".to_owned(), epoch: Epoch::new(1), partitions: 1 });
        for week in weeks {
            batch.partition(PartitionId::new(0)).mark(&MarkFact {
                app: AppId::trusted("o#a"),
                conversation: ConversationKey::trusted("o#a/u/a/b"),
                chat: Chat::Single,
                reader: UserId::trusted("a"),
                at: EventTime::from_millis(week * 7 * DAY_MILLIS),
                ack_id: AckId::trusted("k"),
                position: Position {
                    offset: Offset::new(week.unsigned_abs()),
                    own_offset: Offset::new(0),
                    own_partition: PartitionId::new(0),
                    own_epoch: Epoch::new(1),
                    record_time: RecordTime::from_millis(0),
                },
            });
        }
        batch
    }

    #[test]
    fn no_rows_make_no_insert() {
        let batch = marks(std::iter::empty());
        assert!(inserts(batch.table(Table::Marks)).is_empty());
    }

    #[test]
    fn a_hundred_weeks_are_one_insert_of_the_rows_as_they_are() {
        let batch = marks((0..MAX_TABLE_PARTITIONS as i64).cycle().take(1_000));
        let rows = batch.table(Table::Marks);
        let inserts = inserts(rows);
        assert_eq!(inserts, [Cow::Borrowed(rows.bytes())]);
        assert!(matches!(inserts[0], Cow::Borrowed(_)));
    }

    #[test]
    fn more_weeks_are_split_with_each_week_in_one_insert() {
        let weeks = 2 * MAX_TABLE_PARTITIONS as i64 + 50;
        let batch = marks((0..weeks).cycle().take(1_000));
        let rows = batch.table(Table::Marks);
        let inserts = inserts(rows);
        assert_eq!(inserts.len(), 3);
        assert_eq!(inserts.iter().map(|insert| insert.len()).sum::<usize>(), rows.bytes().len());
        let row_bytes = rows.bytes().len() / rows.rows();
        let rows_of = |insert: usize| inserts[insert].len() / row_bytes;
        assert_eq!([rows_of(0), rows_of(1), rows_of(2)], [400, 400, 200], "1,000 rows over 250 weeks, 4 a week");
    }
}
