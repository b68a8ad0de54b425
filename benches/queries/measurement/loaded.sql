-- What is in the store. A subquery may be NULL to ClickHouse.
SELECT
    assumeNotNull((SELECT count() FROM messages FINAL))                                       AS messages,
    assumeNotNull((SELECT count() FROM receipts FINAL))                                       AS receipts,
    assumeNotNull((SELECT toUInt64(dateDiff('day', min(sent_at), max(sent_at))) FROM messages)) AS days
