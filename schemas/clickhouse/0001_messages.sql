-- Messages accepted, each with what was fixed when it was folded. The first in log order wins.
CREATE TABLE IF NOT EXISTS ${database}.messages ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),                    -- the whole conversation key, app included
    message      String CODEC(ZSTD),
    sent_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    chat         Enum8('single' = 1, 'group' = 2),
    sender       String CODEC(ZSTD),
    recipient    String CODEC(ZSTD),                    -- the peer, or the group's id
    status       Enum8('stored' = 1, 'opened' = 2, 'not_open' = 3, 'permission_denied' = 4, 'quota_exceeded' = 5),
    validity_ms  UInt64 CODEC(ZSTD),
    reader_cap   UInt32 CODEC(ZSTD),
    quota_day    Nullable(Date32) CODEC(ZSTD),          -- local day; of opened messages
    audience     Nullable(UInt32) CODEC(ZSTD),          -- members without the sender; of opened messages, roster known
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),             -- where the fold produced the row
    own_offset   UInt64 CODEC(Delta, ZSTD),             -- where the record stands that it is about
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    version      UInt64 MATERIALIZED bitNot(bitOr(bitShiftLeft(toUInt64(epoch), 48), offset)) CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY toMonday(sent_at)
ORDER BY (app, conversation, message, sent_at)
SETTINGS index_granularity = 512
