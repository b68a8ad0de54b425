-- Messages of an app in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    toString(chat) AS chat_name,
    sender,
    recipient,
    toString(status) AS status_name,
    validity_ms,
    reader_cap,
    toString(quota_day) AS quota_date,
    audience,
    epoch,
    partition,
    offset
FROM messages FINAL
WHERE app = ?
    AND sent_at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND sent_at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, message, toUnixTimestamp64Milli(sent_at))
        > (?, ?, toInt64(?))
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, message, toUnixTimestamp64Milli(sent_at))
            <= (?, ?, toInt64(?)))
ORDER BY conversation, message, sent_at
