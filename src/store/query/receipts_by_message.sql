-- Receipts of several messages. Plain columns and no order: which row counts of a kind and reader (the first in
-- log order, which has the largest version) is told by the reader, as analysing a statement costs more than its rows. By
-- literal tuples, as a subquery's set costs three times as much; the week leaves other partitions unread. Several lives of
-- a message may share a week: which one a receipt is of is told by sent_at.
SELECT conversation, message, sent_at, kind, reader, at, ack_id, content, version
FROM receipts
WHERE app IN ? AND (conversation, message) IN ? AND toMonday(sent_at) IN ?
