-- How many read a message, the position of the last reader retained (the reader_cap-th newest; empty below the cap), and
-- the version of the latest receipt in log order (versions fall; the largest where there is none).
SELECT
    count()                                                                  AS distinct_readers,
    arrayReverseSort(groupArray((at_ms, ack_id, reader)))[toUInt32(?)]       AS last_retained,
    if(count() = 0, bitNot(toUInt64(0)), min(version))                       AS latest_version
FROM
(
    SELECT reader, toUnixTimestamp64Milli(at) AS at_ms, ack_id, version
    FROM receipts
    WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
        AND kind = 'read'
    ORDER BY version DESC
    LIMIT 1 BY reader
)
