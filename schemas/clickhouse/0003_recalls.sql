-- Messages taken back. The first recall in log order wins.
CREATE TABLE IF NOT EXISTS ${database}.recalls ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    message      String CODEC(ZSTD),
    sent_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- the message's
    recalled_by  String CODEC(ZSTD),
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- the recall's
    recall_id    String CODEC(ZSTD),
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),
    own_epoch    UInt16 CODEC(ZSTD),                      -- where the record stands: an older generation's where it waited since
    own_partition UInt32 CODEC(ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    version      UInt64 MATERIALIZED bitNot(bitOr(bitShiftLeft(toUInt64(epoch), 48), offset)) CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY toMonday(sent_at)
ORDER BY (app, conversation, message, sent_at)
SETTINGS index_granularity = 512
