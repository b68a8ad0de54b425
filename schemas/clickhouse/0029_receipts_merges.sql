-- Questions about messages go to `message_facts`, so that here a part more costs nobody time. By default ClickHouse merges what
-- comes each second with what is there of minutes and hours, again and again; eight parts of like size at a time takes a
-- third off all of its work while rows come in.
ALTER TABLE ${database}.receipts ${on_cluster}
    MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 8
