-- Refused records of an app in the order of the table's key, behind one place and up to another; or up to the end.
SELECT
    conversation,
    type,
    outcome,
    words,
    code,
    user,
    if(at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(at))) AS at_ms,
    toUnixTimestamp64Milli(record_time) AS recorded_at_ms,
    settled,
    if(isValidUTF8(value), value, base64Encode(value)) AS value_text,
    isValidUTF8(value) AS is_value_text,
    epoch,
    partition,
    offset,
    own_epoch,
    own_partition,
    own_offset
FROM rejections FINAL
WHERE app = ?
    AND record_time >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND record_time < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND conversation >= ?
    AND (conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
        > (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?))
    AND (? OR conversation <= ?)
    AND (?
        OR (conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
            <= (?, toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?), toInt64(?)))
ORDER BY conversation, epoch, partition, offset, own_epoch, own_partition, own_offset
