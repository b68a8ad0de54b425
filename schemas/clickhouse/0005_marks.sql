-- Applied conversation reads: up to when a reader has read.
CREATE TABLE IF NOT EXISTS ${database}.marks ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),
    chat         Enum8('single' = 1, 'group' = 2),
    reader       String CODEC(ZSTD),
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    ack_id       String CODEC(ZSTD),
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (app, conversation, epoch, partition, offset, own_offset)
SETTINGS index_granularity = 512
