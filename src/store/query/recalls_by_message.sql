-- When messages of an app were taken back; the first recall of each in log order wins.
SELECT
    conversation,
    message,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    toUnixTimestamp64Milli(at)      AS at_ms,
    epoch,
    offset
FROM recalls
WHERE app = ? AND (conversation, message) IN ? AND toMonday(sent_at) IN ?
ORDER BY version DESC
LIMIT 1 BY conversation, message, sent_at
