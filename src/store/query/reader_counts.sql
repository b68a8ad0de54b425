-- How many read a message, and the position of the last reader retained (the reader_cap-th newest; empty below the cap).
SELECT
    count()                                                                  AS distinct_readers,
    arrayReverseSort(groupArray((at_ms, ack_id, reader)))[toUInt32(?)]       AS last_retained
FROM
(
    SELECT reader, toUnixTimestamp64Milli(at) AS at_ms, ack_id
    FROM receipts
    WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
        AND kind = 'read'
    ORDER BY version DESC
    LIMIT 1 BY reader
)
