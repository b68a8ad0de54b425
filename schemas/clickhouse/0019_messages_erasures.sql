-- Rows of one key on both sides of an erasure are two facts: the first in log order must not win over what came after it.
ALTER TABLE ${database}.messages ${on_cluster}
    ADD COLUMN IF NOT EXISTS erasures UInt32 AFTER sent_at,   -- how many erasures of the app stand in front of it
    MODIFY ORDER BY (app, conversation, message, sent_at, erasures)
