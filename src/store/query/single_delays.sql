-- Delays of receipts of one kind in single chats of an app, by step of the receipt's time, exact. No message is valid for
-- more than 90 days. A receipt has one place in the log, by which rows that were written twice count once.
WITH
    toInt64(?) AS step_ms,
    toInt64(?) AS from_ms,
    toInt64(?) AS until_ms
SELECT
    intDiv(at_ms, step_ms) * step_ms                        AS start_ms,
    count()                                                 AS receipts,
    quantilesExact(0.5, 0.9, 0.95, 0.99)(delay_ms)          AS quantiles
FROM
(
    SELECT
        toUnixTimestamp64Milli(at)                                                AS at_ms,
        greatest(at_ms - toUnixTimestamp64Milli(sent_at), toInt64(0))             AS delay_ms
    FROM receipts
    WHERE app = ? AND startsWith(conversation, ?) AND kind = ?
        AND sent_at >= fromUnixTimestamp64Milli(from_ms - 7776000000, 'UTC')
        AND at >= fromUnixTimestamp64Milli(from_ms, 'UTC') AND at < fromUnixTimestamp64Milli(until_ms, 'UTC')
    LIMIT 1 BY own_epoch, own_partition, own_offset
)
GROUP BY start_ms
ORDER BY start_ms
