-- Of each group the last head, and of each user the last row, before the committed offsets: a user's state is his last
-- row, whatever came before.
WITH
    toUInt16(?) AS current_epoch,
    toUInt32(?) AS partition_count,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed,
    ? AS wanted_app,
    ? AS wanted_conversation
SELECT
    app, conversation, user, home,
    last.1 AS change, last.2 AS role, last.3 AS at, last.4 AS joined_at,
    last.5 AS epoch, last.6 AS partition, last.7 AS offset, last.8 AS own_offset, last.9 AS record_time
FROM
(
    WITH
        if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home
    SELECT
        app, conversation, user, home,
        argMax(
            tuple(change, role, at, joined_at, epoch, partition, offset, own_offset, record_time),
            tuple(epoch, offset, own_offset)
        ) AS last
    FROM roster_changes
    WHERE has(wanted, home)
      AND (wanted_app = '' OR app = wanted_app) AND (wanted_conversation = '' OR conversation = wanted_conversation)
      AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
    GROUP BY app, conversation, user, home
)
