-- Control records that were applied: one row a partition and version.
CREATE TABLE IF NOT EXISTS ${database}.policies ${on_cluster}
(
    app            LowCardinality(String),
    epoch          UInt16,
    partition      UInt32,
    offset         UInt64,
    own_offset     UInt64,
    type           Enum8('policy' = 4, 'erase' = 5),
    version        UInt64,                                -- the writer's clock in ms
    effective_from Nullable(DateTime64(3, 'UTC')),        -- of a policy
    policy         String CODEC(ZSTD),                    -- of a policy: its limits as JSON, defaults written out
    user           String,                                -- of an erasure: who is forgotten
    record_time    DateTime64(3, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (app, epoch, partition, offset, own_offset)
SETTINGS index_granularity = 256
