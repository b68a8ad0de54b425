-- Changes of an app's rosters in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    user,
    toString(change) AS change_name,
    toString(role) AS role_name,
    toUnixTimestamp64Milli(at) AS at_ms,
    if(joined_at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(joined_at))) AS joined_at_ms,
    epoch,
    partition,
    offset,
    own_offset
FROM roster_changes FINAL
WHERE app = ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, epoch, partition, offset, own_offset, user)
        > (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), ?)
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, epoch, partition, offset, own_offset, user)
            <= (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), ?))
ORDER BY conversation, epoch, partition, offset, own_offset, user
