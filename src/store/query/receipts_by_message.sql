-- Receipts of several messages. Plain columns and no order: which row counts of a kind and reader (the first in log order,
-- which has the largest version) is told by the reader, as analysing a statement costs more than its rows. By literal tuples,
-- as a subquery's set costs three times as much; the times leave other weeks unread, and of this one the parts that hold none
-- of them. Which of several lives of a message a receipt is of is told by sent_at as well.
SELECT conversation, message, sent_at, kind, reader, at, ack_id, content, version
FROM receipts
WHERE ${of_messages} AND sent_at IN ?
