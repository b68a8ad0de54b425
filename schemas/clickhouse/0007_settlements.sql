-- Ends of waits, each with what became of the record.
CREATE TABLE IF NOT EXISTS ${database}.settlements ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),               -- the message's, or the record's that moved the watermark past the wait
    own_epoch    UInt16 CODEC(ZSTD),                      -- where the record stands: an older generation's where it waited since
    own_partition UInt32 CODEC(ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),               -- the waiting record's
    type         Enum8('delivered' = 1, 'read' = 2, 'recall' = 3),
    chat         Enum8('single' = 1, 'group' = 2),
    message      String CODEC(ZSTD),
    user         String CODEC(ZSTD),
    recipient    String CODEC(ZSTD),
    event_id     String CODEC(ZSTD),
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    content      Nullable(String) CODEC(ZSTD),
    outcome      LowCardinality(String),
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (app, conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
SETTINGS index_granularity = 512
