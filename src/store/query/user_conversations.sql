-- Conversations that concern a user, by key: single ones in which somebody wrote to him, and groups whose roster names him
-- or in which he has sent, read or marked. The columns looked through have skip indexes.
WITH
    ? AS asked_app,
    ? AS asked_user,
    ? AS after_conversation
SELECT DISTINCT conversation
FROM
(
    SELECT conversation FROM messages
    WHERE app = asked_app AND conversation > after_conversation AND recipient = asked_user AND chat = 'single'
    UNION ALL
    SELECT conversation FROM messages
    WHERE app = asked_app AND conversation > after_conversation AND sender = asked_user AND chat = 'group'
    UNION ALL
    SELECT conversation FROM receipts
    WHERE app = asked_app AND conversation > after_conversation AND startsWith(conversation, concat(asked_app, '/g/'))
        AND reader = asked_user
    UNION ALL
    SELECT conversation FROM marks
    WHERE app = asked_app AND conversation > after_conversation AND reader = asked_user AND chat = 'group'
    UNION ALL
    SELECT conversation FROM roster_changes
    WHERE app = asked_app AND conversation > after_conversation AND user = asked_user
)
ORDER BY conversation
LIMIT toUInt64(?)
