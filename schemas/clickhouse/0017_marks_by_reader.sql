-- Finds the conversations that a reader has marked without reading all of an app's.
ALTER TABLE ${database}.marks ${on_cluster}
    ADD INDEX IF NOT EXISTS by_reader reader TYPE bloom_filter(0.01) GRANULARITY 1,
    MATERIALIZE INDEX by_reader
