-- When a row was written last: what was folded again since an erasure was swept has to be swept again.
ALTER TABLE ${database}.policies ${on_cluster}
    ADD COLUMN IF NOT EXISTS inserted_at DateTime64(3, 'UTC') MATERIALIZED now64(3, 'UTC')
