-- All that is known of several messages, by the keys of `store::fact_text`. One column, in no order: what counts of it is
-- told by the reader, as analysing a statement costs more than reading its rows.
SELECT fact FROM message_facts WHERE key IN ?
