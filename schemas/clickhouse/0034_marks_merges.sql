-- As of receipts.
ALTER TABLE ${database}.marks ${on_cluster}
    MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 8
