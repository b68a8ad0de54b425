-- Records that wait for their message. One still waits as of an offset where `settlements` has no end of it before.
CREATE TABLE IF NOT EXISTS ${database}.parked ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),
    own_epoch    UInt16 CODEC(ZSTD),                      -- the same as epoch and partition: named as in `settlements`
    own_partition UInt32 CODEC(ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),
    type         Enum8('delivered' = 1, 'read' = 2, 'recall' = 3),
    chat         Enum8('single' = 1, 'group' = 2),
    message      String CODEC(ZSTD),
    user         String CODEC(ZSTD),                      -- who acts
    recipient    String CODEC(ZSTD),                      -- the peer, or the group's id
    event_id     String CODEC(ZSTD),                      -- the receipt's or recall's own id
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    content      Nullable(String) CODEC(ZSTD),
    deadline     DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- it waits while the watermark is not past this
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    INDEX deadline_range deadline TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toMonday(at)
ORDER BY (app, conversation, epoch, partition, offset, own_offset)
SETTINGS index_granularity = 512
