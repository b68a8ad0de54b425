-- The key of the last row of a slice of them, and the next one where there is one.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at)
FROM message_counts FINAL
WHERE app = ?
    AND sent_at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND sent_at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, message, toUnixTimestamp64Milli(sent_at))
        > (?, ?, toInt64(?))
ORDER BY conversation, message, sent_at
LIMIT 2 OFFSET toUInt64(?)
