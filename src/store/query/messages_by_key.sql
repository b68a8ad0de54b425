-- The newest life of each of several messages of an app, of either kind of chat; its first version in log order wins.
SELECT
    conversation,
    message,
    sender,
    recipient,
    toUnixTimestamp64Milli(sent_at) AS sent_at_ms,
    toString(chat)                  AS chat_name,
    toString(status)                AS status_name,
    validity_ms,
    reader_cap,
    audience,
    epoch,
    offset
FROM messages
WHERE app = ? AND (conversation, message) IN ?
ORDER BY sent_at DESC, version DESC
LIMIT 1 BY conversation, message
