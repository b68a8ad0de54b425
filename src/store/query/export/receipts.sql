-- Receipts of an app in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    toString(kind) AS kind_name,
    reader,
    toUnixTimestamp64Milli(at) AS at_ms,
    ack_id,
    content,
    epoch,
    partition,
    offset,
    own_epoch,
    own_partition,
    own_offset
FROM receipts FINAL
WHERE app = ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, message, toUnixTimestamp64Milli(sent_at), CAST(kind, 'Int8'), reader)
        > (?, ?, toInt64(?), toInt64(?), ?)
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, message, toUnixTimestamp64Milli(sent_at), CAST(kind, 'Int8'), reader)
            <= (?, ?, toInt64(?), toInt64(?), ?))
ORDER BY conversation, message, sent_at, kind, reader
