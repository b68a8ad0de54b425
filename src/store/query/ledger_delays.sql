-- Delays of an app's receipts, by type and step of record time, as a histogram (fold::delay): the latest one of each cell,
-- summed over partitions, generations of the log and hours.
WITH toInt64(?) AS step_ms
SELECT
    type,
    intDiv(toUnixTimestamp64Milli(hour), step_ms) * step_ms AS start_ms,
    sumMap(latest.1, latest.2)                              AS histogram
FROM
(
    SELECT type, hour, argMax((ledger.buckets, ledger.bucket_totals), next_offset) AS latest
    FROM ledger
    WHERE app = ? AND measure = 'delays' AND type IN ?
        AND hour >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND hour < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    GROUP BY epoch, topic, partition, type, hour
)
GROUP BY type, start_ms
ORDER BY type, start_ms
