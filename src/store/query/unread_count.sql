-- How many of the audience of a message (as in unread.sql) have not read it.
SELECT count() AS unread
FROM
(
    SELECT user, argMax(role IS NOT NULL, (epoch, offset)) AS is_member
    FROM roster_changes
    WHERE app = ? AND conversation = ? AND user != '' AND user != ? AND (epoch, offset) < (toUInt16(?), toUInt64(?))
    GROUP BY user
)
WHERE is_member
    AND user NOT IN
    (
        SELECT reader
        FROM receipts
        WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
            AND kind = 'read'
    )
