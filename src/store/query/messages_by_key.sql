-- Rows of several messages, of either kind of chat. Plain columns and no order: which row counts (the newest life
-- of a message, the first version in log order) is told by the reader, as analysing a statement costs more than its rows.
SELECT conversation, message, sender, recipient, sent_at, chat, status, validity_ms, reader_cap, audience, version
FROM messages
WHERE ${of_messages}
