-- How far the rows of some partitions are complete. Every column of the key before next_offset is fixed, and the offset
-- that is known to be reached leaves all but the last rows unread.
SELECT partition, next_offset, toInt64(total) AS watermark_ms, toUnixTimestamp64Milli(inserted_at) AS inserted_at_ms
FROM ledger
WHERE epoch = toUInt16(?) AND topic = ? AND partition IN ?
    AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark' AND hour = toDateTime64(0, 3, 'UTC')
    AND next_offset >= toUInt64(?)
ORDER BY next_offset DESC
LIMIT 1 BY partition
