-- The key of the last row of a slice of them, and the next one where there is one.
SELECT
    conversation,
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
ORDER BY conversation, epoch, partition, offset, own_offset
LIMIT 2 OFFSET toUInt64(?)
