-- A group message that asked for receipts and was refused, and was not taken back.
SELECT app, recipient AS `group`, message, toUInt64(0) AS readers
FROM messages
WHERE status IN ('not_open', 'permission_denied', 'quota_exceeded')
    AND (app, conversation, message) NOT IN (SELECT app, conversation, message FROM recalls)
ORDER BY status DESC, message
LIMIT 1
