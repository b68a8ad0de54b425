-- A group message that asked for receipts and was refused.
SELECT app, recipient AS `group`, message, toUInt64(0) AS readers
FROM messages
WHERE status IN ('not_open', 'permission_denied', 'quota_exceeded')
ORDER BY status DESC, message
LIMIT 1
