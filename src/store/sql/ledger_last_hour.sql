-- The last hour of record time in which a record in front of an offset was counted, those of older generations included;
-- nothing where there is none. The offset is an end of a flush, or the log's begin.
SELECT toUnixTimestamp64Milli(max(hour)) AS hour_ms
FROM ledger
WHERE measure = 'records'
  AND (epoch < toUInt16(?) OR (epoch = toUInt16(?) AND topic = ? AND partition = ? AND next_offset <= ?))
HAVING count() > 0
