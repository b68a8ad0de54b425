-- Erasures whose rows were taken out of the tables, and when that began. The last one counts.
CREATE TABLE IF NOT EXISTS ${database}.erasure_sweeps ${on_cluster}
(
    app      LowCardinality(String),
    version  UInt64,                 -- of the erasure, among the control records of the app
    swept_at DateTime64(3, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree(swept_at)
ORDER BY (app, version)
