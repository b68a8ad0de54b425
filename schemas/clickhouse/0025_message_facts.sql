-- All that is known of a message in one place: what `messages`, `receipts` and `recalls` say of it, each row as a text. For
-- reading only, never for hydration. A question about a message costs ClickHouse half a millisecond for each part and column
-- that it looks into, so that this table has two columns to look into and no weeks; its rows are deleted with the weeks of
-- `messages`. `message_fact_fields` shows what the texts say in columns. The fields of the text, a tab between each:
--   conversation, message, sent_at (ms), kind, user, epoch, offset, and then
--   kind 'message': status, validity_ms, reader_cap, audience ('' where not known); the user is the sender
--   kind 'delivered' and 'read': at (ms), ack_id, and where there is any the content, to the end; the user is the reader
--   kind 'recall': at (ms); no user is named
CREATE TABLE IF NOT EXISTS ${database}.message_facts ${on_cluster}
(
    key           UInt64,                                 -- xxHash64 of conversation, tab, message
    fact          String,
    own_epoch     UInt16,                                 -- where the record stands, as in the row that it is told by
    own_partition UInt32,
    epoch         UInt16,
    partition     UInt32,
    offset        UInt64 CODEC(Delta, LZ4),
    own_offset    UInt64 CODEC(Delta, LZ4)
)
ENGINE = ${replicated}ReplacingMergeTree
PRIMARY KEY key
ORDER BY (key, fact)
SETTINGS index_granularity = 64, min_compress_block_size = 4096, min_bytes_for_wide_part = 1099511627776
