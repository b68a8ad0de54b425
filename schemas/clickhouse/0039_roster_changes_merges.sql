-- By default ClickHouse merges what comes of rosters each second with what came in the hours before, again and again: with
-- 200,000 changes that took more time than the merges of every other table, for no fewer parts. Four parts of like size at
-- a time leave a question about a group two to six parts to look into.
ALTER TABLE ${database}.roster_changes ${on_cluster}
    MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 4
