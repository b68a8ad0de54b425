-- Ends of waits of an app in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    toString(type) AS type_name,
    toString(chat) AS chat_name,
    message,
    user,
    event_id,
    toUnixTimestamp64Milli(at) AS at_ms,
    outcome,
    epoch,
    partition,
    offset,
    own_epoch,
    own_partition,
    own_offset
FROM settlements FINAL
WHERE app = ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
        > (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?))
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
            <= (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?)))
ORDER BY conversation, epoch, partition, offset, own_epoch, own_partition, own_offset
