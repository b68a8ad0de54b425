-- Rows that were removed on purpose, counted before they were: hydration lets so many be missing. A count is repeated
-- under the same key where a removal is, and the largest stays.
CREATE TABLE IF NOT EXISTS ${database}.dropped ${on_cluster}
(
    table_name LowCardinality(String),
    epoch      UInt16,
    partition  UInt32,                 -- of the events topic
    week       Date32,                 -- Monday of the ClickHouse partition dropped; 1970-01-01 for an erasure
    app        LowCardinality(String), -- of an erasure, else ''
    version    UInt64,                 -- of an erasure, else 0
    until      UInt64,                 -- counted are rows below this offset, and not below that of an earlier count
    rows       UInt64                  -- records with rows, however often those were written
)
ENGINE = ${replicated}ReplacingMergeTree(rows)
ORDER BY (table_name, epoch, partition, week, app, version, until)
