-- Finds the groups whose rosters name a user without reading all of an app's.
ALTER TABLE ${database}.roster_changes ${on_cluster}
    ADD INDEX IF NOT EXISTS by_user user TYPE bloom_filter(0.01) GRANULARITY 1,
    MATERIALIZE INDEX by_user
