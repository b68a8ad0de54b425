-- As of receipts, but parts are looked into: who asks for messages of single chats needs the marks of every week. So four parts
-- of like size at a time, and a week is one part once its newest is an hour old (and again an hour after a late mark).
ALTER TABLE ${database}.marks ${on_cluster}
    MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 4,
        min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
