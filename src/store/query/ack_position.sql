-- The reader whose receipt has this id: the one named, or the newest where clients used one id for several.
SELECT reader, at_ms, ack_id, content
FROM
(
    SELECT reader, toUnixTimestamp64Milli(at) AS at_ms, ack_id, content
    FROM receipts
    WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
        AND kind = 'read'
    ORDER BY version DESC
    LIMIT 1 BY reader
)
WHERE ack_id = ? AND (? = '' OR reader = ?)
ORDER BY at_ms DESC, reader DESC
LIMIT 1
