-- Finds the messages of a sender and those to a peer without reading all of an app's.
ALTER TABLE ${database}.messages ${on_cluster}
    ADD INDEX IF NOT EXISTS by_sender sender TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_recipient recipient TYPE bloom_filter(0.01) GRANULARITY 1,
    MATERIALIZE INDEX by_sender,
    MATERIALIZE INDEX by_recipient
