-- How far the rows of partitions are complete, each known to reach an offset: only what came since is read.
SELECT
    partition,
    max(ledger.next_offset)                                                AS next_offset,
    toInt64(argMax(total, ledger.next_offset))                             AS watermark_ms,
    toUnixTimestamp64Milli(argMax(ledger.inserted_at, ledger.next_offset)) AS inserted_at_ms
FROM ledger
WHERE epoch = toUInt16(?) AND topic = ?
    AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark' AND hour = toDateTime64(0, 3, 'UTC')
    AND ((partition = toUInt32(?) AND ledger.next_offset >= toUInt64(?)))
GROUP BY partition
