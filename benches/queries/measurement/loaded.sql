-- What is in the store.
SELECT
    (SELECT count() FROM messages FINAL)                                AS messages,
    (SELECT count() FROM receipts FINAL)                                AS receipts,
    (SELECT toUInt64(dateDiff('day', min(sent_at), max(sent_at))) FROM messages) AS days
