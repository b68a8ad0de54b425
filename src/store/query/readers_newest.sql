-- Readers of a message, as of a place in the log (versions fall with it), from a position on (not including it, unless said so), down to a floor, newest first.
SELECT reader, at_ms, ack_id, content
FROM
(
    SELECT reader, toUnixTimestamp64Milli(at) AS at_ms, ack_id, content
    FROM receipts
    WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
        AND kind = 'read' AND version >= toUInt64(?)
    ORDER BY version DESC
    LIMIT 1 BY reader
)
WHERE ((at_ms, ack_id, reader) < (toInt64(?), ?, ?) OR (? AND (at_ms, ack_id, reader) = (toInt64(?), ?, ?)))
    AND (at_ms, ack_id, reader) >= (toInt64(?), ?, ?)
    AND (empty(CAST(?, 'Array(String)')) OR has(CAST(?, 'Array(String)'), reader))
ORDER BY at_ms DESC, ack_id DESC, reader DESC
LIMIT toUInt64(?)
