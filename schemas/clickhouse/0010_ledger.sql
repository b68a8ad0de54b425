-- Running totals of each cell as of an offset, never differences: the total with the largest next_offset at or below
-- an offset is exact as of it, whatever rows dead workers left and however batches were cut.
CREATE TABLE IF NOT EXISTS ${database}.ledger ${on_cluster}
(
    epoch         UInt16,
    topic         LowCardinality(String),                 -- the events topic
    partition     UInt32,
    app           LowCardinality(String),
    type          LowCardinality(String),
    outcome       LowCardinality(String),
    measure       Enum8('records' = 1, 'settled' = 2, 'delays' = 3, 'watermark' = 4),
    hour          DateTime64(3, 'UTC') CODEC(Delta, ZSTD), -- start of the hour of record time
    next_offset   UInt64 CODEC(Delta, ZSTD),              -- as of this offset, exclusive
    total         UInt64 CODEC(ZSTD),                     -- of the watermark: ms since 1970
    buckets       Array(UInt16) CODEC(ZSTD),              -- of delays: buckets that are not empty
    bucket_totals Array(UInt64) CODEC(ZSTD),              -- of delays: their totals
    partitions    UInt32 CODEC(ZSTD),                     -- how many the topic has: fixed for its life
    inserted_at   DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD),
    INDEX hour_range hour TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY epoch
ORDER BY (epoch, topic, partition, app, type, outcome, measure, hour, next_offset)
SETTINGS index_granularity = 512
