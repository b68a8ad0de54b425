-- Refused records of an app by the time they were written, the latest first, from a place on (not including it), as many
-- as are asked for or as take so many bytes, and the one behind them. Rows may be there twice. The page is found by its
-- places alone: keys and values, at most 64 KiB each, are read for its rows and for no others.
WITH
    ?           AS asked_app,
    toInt64(?)  AS from_ms,
    toInt64(?)  AS until_ms,
    ?           AS asked_outcome,
    ?           AS asked_conversation,
    ?           AS asked_user,
    toUInt64(?) AS most_bytes
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
PREWHERE app = asked_app
    AND record_time >= fromUnixTimestamp64Milli(from_ms, 'UTC') AND record_time < fromUnixTimestamp64Milli(until_ms, 'UTC')
    AND (epoch, partition, offset, own_epoch, own_partition, own_offset) IN
    (
        SELECT epoch, partition, offset, own_epoch, own_partition, own_offset
        FROM
        (
            SELECT
                epoch, partition, offset, own_epoch, own_partition, own_offset,
                sum(bytes) OVER
                (
                    ORDER BY record_time_ms DESC, epoch DESC, partition DESC, offset DESC, own_epoch DESC,
                        own_partition DESC, own_offset DESC
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                ) AS bytes_before_the_last
            FROM
            (
                SELECT
                    toUnixTimestamp64Milli(record_time)                          AS record_time_ms,
                    epoch, partition, offset, own_epoch, own_partition, own_offset,
                    least(key_bytes, 65536) + least(value_bytes, 65536)          AS bytes
                FROM rejections
                WHERE app = asked_app
                    AND record_time >= fromUnixTimestamp64Milli(from_ms, 'UTC')
                    AND record_time < fromUnixTimestamp64Milli(until_ms, 'UTC')
                    AND (asked_outcome = '' OR outcome = asked_outcome)
                    AND (asked_conversation = '' OR conversation = asked_conversation)
                    AND (asked_user = '' OR user = asked_user)
                    AND (record_time_ms, epoch, partition, offset, own_epoch, own_partition, own_offset)
                        < (toInt64(?), toUInt16(?), toUInt32(?), toUInt64(?), toUInt16(?), toUInt32(?), toUInt64(?))
                ORDER BY record_time_ms DESC, epoch DESC, partition DESC, offset DESC, own_epoch DESC,
                    own_partition DESC, own_offset DESC
                LIMIT 1 BY epoch, partition, offset, own_epoch, own_partition, own_offset
                LIMIT toUInt64(?)
            )
        )
        WHERE bytes_before_the_last < most_bytes
    )
ORDER BY record_time_ms DESC, epoch DESC, partition DESC, offset DESC, own_epoch DESC, own_partition DESC, own_offset DESC
LIMIT 1 BY epoch, partition, offset, own_epoch, own_partition, own_offset
