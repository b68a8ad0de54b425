-- How far the rows of a partition are complete. Every column of the key before next_offset is fixed, so that the last
-- row is read and not the whole history.
SELECT partition, next_offset, toInt64(total) AS watermark_ms, toUnixTimestamp64Milli(inserted_at) AS inserted_at_ms
FROM ledger
WHERE epoch = toUInt16(?) AND topic = ? AND partition = toUInt32(?)
    AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark' AND hour = toDateTime64(0, 3, 'UTC')
ORDER BY next_offset DESC
LIMIT 1
