-- Marks of single chats over a stretch of time. Plain columns and no order: what they say of which message is told by the
-- reader, as analysing a statement costs more than its rows.
SELECT conversation, reader, at, epoch, offset
FROM marks
WHERE app = ? AND conversation IN ?
    AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at <= fromUnixTimestamp64Milli(toInt64(?), 'UTC')
