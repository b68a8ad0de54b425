-- Receipts of several messages of an app, one a kind and reader: the first in log order wins, which has the largest
-- version. By literal tuples, as a subquery's set costs three times as much; the week leaves other partitions unread.
-- Several lives of a message may share a week: which one a receipt is of is told by sent_at.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    kind = 'read'                   AS is_read,
    reader,
    toUnixTimestamp64Milli(at)      AS at_ms,
    ack_id,
    content,
    version
FROM receipts
WHERE app = ? AND (conversation, message) IN ? AND toMonday(sent_at) IN ?
ORDER BY version DESC
LIMIT 1 BY conversation, message, sent_at, kind, reader
