-- Receipts that count: one a message, kind and reader. The first in log order wins.
CREATE TABLE IF NOT EXISTS ${database}.receipts ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    message      String CODEC(ZSTD),
    sent_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- the message's
    kind         Enum8('delivered' = 1, 'read' = 2),
    reader       String CODEC(ZSTD),
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- the receipt's
    ack_id       String CODEC(ZSTD),
    content      Nullable(String) CODEC(ZSTD),
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
PRIMARY KEY (app, conversation, message, sent_at)
ORDER BY (app, conversation, message, sent_at, kind, reader)
SETTINGS index_granularity = 512
