-- What became of an app's records, by type, outcome and step of record time: the latest total of each cell, summed over
-- partitions, generations of the log and hours.
WITH toInt64(?) AS step_ms
SELECT
    intDiv(toUnixTimestamp64Milli(hour), step_ms) * step_ms AS start_ms,
    toUInt8(measure_of_cell = 'settled')                    AS is_settled,
    type, outcome,
    sum(latest)                                             AS records
FROM
(
    SELECT ledger.measure AS measure_of_cell, type, outcome, hour, argMax(ledger.total, next_offset) AS latest
    FROM ledger
    WHERE app = ? AND ledger.measure IN ('records', 'settled')
        AND hour >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND hour < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    GROUP BY epoch, topic, partition, measure_of_cell, type, outcome, hour
)
GROUP BY start_ms, is_settled, type, outcome
ORDER BY start_ms, is_settled, type, outcome
