-- As of messages.
ALTER TABLE ${database}.recalls ${on_cluster}
    ADD COLUMN IF NOT EXISTS erasures UInt32 AFTER sent_at,   -- how many erasures of the app stand in front of it
    MODIFY ORDER BY (app, conversation, message, sent_at, erasures)
