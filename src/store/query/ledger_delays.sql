-- Delays of an app's receipts, by type and step of record time, as a histogram (fold::delay): the latest one of each cell,
-- summed over partitions, generations of the log and hours. Which row is the latest is found first: histograms are large,
-- and every flush writes one.
WITH
    toInt64(?) AS step_ms,
    ?          AS asked_app,
    toInt64(?) AS from_ms,
    toInt64(?) AS until_ms
SELECT
    type,
    intDiv(toUnixTimestamp64Milli(hour), step_ms) * step_ms AS start_ms,
    sumMap(buckets, bucket_totals)                          AS histogram
FROM
(
    SELECT type, hour, buckets, bucket_totals
    FROM ledger
    WHERE app = asked_app AND measure = 'delays' AND type IN ?
        AND hour >= fromUnixTimestamp64Milli(from_ms, 'UTC') AND hour < fromUnixTimestamp64Milli(until_ms, 'UTC')
        AND (epoch, topic, partition, app, type, outcome, measure, hour, next_offset) IN
        (
            SELECT epoch, topic, partition, app, type, outcome, measure, hour, max(ledger.next_offset)
            FROM ledger
            WHERE app = asked_app AND measure = 'delays' AND type IN ?
                AND hour >= fromUnixTimestamp64Milli(from_ms, 'UTC')
                AND hour < fromUnixTimestamp64Milli(until_ms, 'UTC')
            GROUP BY epoch, topic, partition, app, type, outcome, measure, hour
        )
    LIMIT 1 BY epoch, topic, partition, type, hour
)
GROUP BY type, start_ms
ORDER BY type, start_ms
