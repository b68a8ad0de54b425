-- Messages with receipts, the newest first, and how many have read each.
SELECT app, conversation, message, toUInt8(chat = 'group') AS is_group, distinct_readers
FROM message_counts FINAL
ORDER BY sent_at DESC
