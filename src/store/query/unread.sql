-- The audience of a message (members at its place in the log, without the sender) minus its readers as of a place in the log, by user.
SELECT user
FROM
(
    SELECT user, argMax(role IS NOT NULL, (epoch, offset)) AS is_member
    FROM roster_changes
    WHERE app = ? AND conversation = ? AND user != '' AND user != ? AND (epoch, offset) < (toUInt16(?), toUInt64(?))
    GROUP BY user
)
WHERE is_member
    AND user > ?
    AND (empty(CAST(?, 'Array(String)')) OR has(CAST(?, 'Array(String)'), user))
    AND user NOT IN
    (
        SELECT reader
        FROM receipts
        WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
            AND kind = 'read' AND version >= toUInt64(?)
    )
ORDER BY user
LIMIT toUInt64(?)
