-- As of receipts; but who asks for messages of single chats looks into the marks of all weeks, so that a week that gets no
-- more of them is one part an hour later, and parts of the current one are fewer.
ALTER TABLE ${database}.marks ${on_cluster}
    MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 4,
        min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
