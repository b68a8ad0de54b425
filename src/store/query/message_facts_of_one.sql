-- As `message_facts.sql`, of one message.
SELECT fact FROM message_facts WHERE key = ?
