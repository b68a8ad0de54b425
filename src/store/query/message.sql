-- The newest life of a message; its first version in log order wins.
SELECT
    sender,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    toString(status)                AS status_name,
    reader_cap,
    audience
FROM messages
WHERE app = ? AND conversation = ? AND message = ?
ORDER BY sent_at DESC, version DESC
LIMIT 1
