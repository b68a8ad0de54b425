-- Counts of a message as of the offset that last changed them, for reading only. The last in log order wins.
CREATE TABLE IF NOT EXISTS ${database}.message_counts ${on_cluster}
(
    app              LowCardinality(String),
    conversation     String CODEC(ZSTD),
    message          String CODEC(ZSTD),
    sent_at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    chat             Enum8('single' = 1, 'group' = 2),
    sender           String CODEC(ZSTD),
    distinct_readers UInt32 CODEC(ZSTD),
    retained_readers UInt32 CODEC(ZSTD),
    delivered        UInt32 CODEC(ZSTD),
    epoch            UInt16 CODEC(ZSTD),
    partition        UInt32 CODEC(ZSTD),
    offset           UInt64 CODEC(Delta, ZSTD),
    version          UInt64 MATERIALIZED bitOr(bitShiftLeft(toUInt64(epoch), 48), offset) CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY toMonday(sent_at)
ORDER BY (app, conversation, message, sent_at)
SETTINGS index_granularity = 512
