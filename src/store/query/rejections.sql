-- Refused records of an app by the time they were written, the latest first, from a place on (not including it). Rows may be
-- there twice.
SELECT
    toUnixTimestamp64Milli(record_time) AS record_time_ms,
    epoch, partition, offset, own_epoch, own_partition, own_offset,
    type, outcome, words, code, detail, conversation, user,
    if(at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(at))) AS at_ms,
    settled,
    isValidUTF8(ifNull(key, '')) AS is_key_text, if(is_key_text, key, base64Encode(key)) AS key_text, key_bytes,
    isValidUTF8(value) AS is_value_text, if(is_value_text, value, base64Encode(value)) AS value_text, value_bytes,
    lower(hex(value_sha256)) AS value_hash
FROM rejections
WHERE app = ?
    AND record_time >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND record_time < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND (? = '' OR outcome = ?)
    AND (? = '' OR conversation = ?)
    AND (? = '' OR user = ?)
    AND (record_time_ms, epoch, partition, offset, own_epoch, own_partition, own_offset)
        < (toInt64(?), toUInt16(?), toUInt32(?), toUInt64(?), toUInt16(?), toUInt32(?), toUInt64(?))
ORDER BY record_time_ms DESC, epoch DESC, partition DESC, offset DESC, own_epoch DESC, own_partition DESC, own_offset DESC
LIMIT 1 BY epoch, partition, offset, own_epoch, own_partition, own_offset
LIMIT toUInt64(?)
