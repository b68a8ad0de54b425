-- The key of the last row of a slice of them, and the next one where there is one.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at),
    CAST(kind, 'Int8'),
    reader
FROM receipts FINAL
WHERE app = ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, message, toUnixTimestamp64Milli(sent_at), CAST(kind, 'Int8'), reader)
        > (?, ?, toInt64(?), toInt64(?), ?)
ORDER BY conversation, message, sent_at, kind, reader
LIMIT 2 OFFSET toUInt64(?)
