-- Refused records as they came, with the reason. What is empty could not be read.
CREATE TABLE IF NOT EXISTS ${database}.rejections ${on_cluster}
(
    app          LowCardinality(String),                  -- '' for malformed records
    conversation String CODEC(ZSTD),                      -- '' for malformed and misrouted records
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),
    own_epoch    UInt16 CODEC(ZSTD),                      -- where the refused record stands: an older generation's where it waited since
    own_partition UInt32 CODEC(ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),
    type         LowCardinality(String),                  -- '' for malformed records and unknown types
    outcome      LowCardinality(String),
    words        LowCardinality(String),                  -- what the vendor's client shows; groups only
    code         UInt16 CODEC(ZSTD),                      -- the vendor's number; 0 where there is none
    detail       String CODEC(ZSTD),                      -- of a malformed record the field and the rule
    user         String CODEC(ZSTD),                      -- who acted
    at           Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD),
    settled      Bool,                                    -- refused at the end of a wait; the value is encoded again
    key          Nullable(String) CODEC(ZSTD),            -- at most 64 KiB of it
    key_bytes    UInt64 CODEC(ZSTD),
    key_sha256   String CODEC(ZSTD),                      -- of the whole, 32 bytes; '' where nothing was cut
    value        String CODEC(ZSTD),                      -- at most 64 KiB of it
    value_bytes  UInt64 CODEC(ZSTD),
    value_sha256 String CODEC(ZSTD),                      -- of the whole, 32 bytes; '' where nothing was cut
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toMonday(ifNull(at, record_time))
ORDER BY (app, conversation, epoch, partition, offset, own_epoch, own_partition, own_offset)
SETTINGS index_granularity = 512
