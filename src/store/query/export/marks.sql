-- Conversation reads of an app in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    toString(chat) AS chat_name,
    reader,
    toUnixTimestamp64Milli(at) AS at_ms,
    ack_id,
    epoch,
    partition,
    offset,
    own_offset
FROM marks FINAL
WHERE app = ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, epoch, partition, offset, own_offset)
        > (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?))
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, epoch, partition, offset, own_offset)
            <= (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?)))
ORDER BY conversation, epoch, partition, offset, own_offset
