-- The last count of each group message of a sender that changed within ranges of the log, one range a place
-- (epoch << 32 | partition), in the order of places and offsets. Rows behind a range are no facts to be told yet: they
-- stand beyond the ledger's frontier.
WITH
    CAST(? AS Array(UInt64)) AS places,
    CAST(? AS Array(UInt64)) AS froms,
    CAST(? AS Array(UInt64)) AS untils
SELECT conversation, message, distinct_readers, epoch, partition, offset
FROM
(
    SELECT
        conversation, message, distinct_readers, epoch, partition, offset, version,
        bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place
    FROM sender_counts
    WHERE app = ? AND sender = ? AND chat = 'group'
        AND offset >= transform(place, places, froms, bitNot(toUInt64(0)))
        AND offset < transform(place, places, untils, toUInt64(0))
    ORDER BY version DESC
    LIMIT 1 BY conversation, message
)
ORDER BY epoch, partition, offset
LIMIT toUInt64(?)
