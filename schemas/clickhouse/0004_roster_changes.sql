-- What happened to rosters: a head row (user = '') for each whole roster, a row for each user it changed, and one for
-- each single change. Kept as long as the group: membership at any message follows from it.
CREATE TABLE IF NOT EXISTS ${database}.roster_changes ${on_cluster}
(
    app          LowCardinality(String),
    conversation String CODEC(ZSTD),
    epoch        UInt16 CODEC(ZSTD),
    partition    UInt32 CODEC(ZSTD),
    offset       UInt64 CODEC(Delta, ZSTD),
    own_offset   UInt64 CODEC(Delta, ZSTD),
    user         String CODEC(ZSTD),                      -- '' for a head
    change       Enum8('roster' = 1, 'group_destroyed' = 2, 'by_roster' = 3, 'join' = 4, 'leave' = 5, 'owner' = 6, 'admin' = 7, 'member' = 8),
    role         Nullable(Enum8('member' = 1, 'admin' = 2, 'owner' = 3)), -- after it; NULL where no member, and for a head
    at           DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    joined_at    Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD),
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (app, conversation, epoch, partition, offset, own_offset, user)
SETTINGS index_granularity = 512
