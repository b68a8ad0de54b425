-- How many messages of each conversation a user has not read (DESIGN.md section 4): not his own, not read, not recalled by
-- anybody, after his largest mark; in groups whose roster is known for members only, from the change on that made him one.
-- Where the roster is not known, who left is the only one left out.
WITH
    ? AS asked_app,
    ? AS asked_user,
    ? AS asked_conversations
SELECT conversation, count() AS unread
FROM
(
    SELECT conversation, message, sent_at
    FROM messages
    WHERE app = asked_app AND conversation IN asked_conversations AND sender != asked_user
    LIMIT 1 BY conversation, message, sent_at
) AS sent
LEFT JOIN
(
    -- One ms more, so that what is not there is 0 and before every message.
    SELECT conversation, max(toUnixTimestamp64Milli(at)) + 1 AS unread_from_ms
    FROM marks
    WHERE app = asked_app AND conversation IN asked_conversations AND reader = asked_user
    GROUP BY conversation
) AS marked USING (conversation)
LEFT JOIN
(
    SELECT
        conversation,
        countIf(user = '') > 0 AS is_roster_known,
        countIf(user = asked_user) > 0 AS is_named,
        argMaxIf(role IS NOT NULL, (epoch, offset), user = asked_user) AS is_member,
        argMaxIf(ifNull(toUnixTimestamp64Milli(joined_at), 0), (epoch, offset), user = asked_user) AS last_joined_ms,
        if(is_roster_known, NOT is_member, is_named AND NOT is_member) AS is_outsider,
        if(is_roster_known, last_joined_ms, 0) AS joined_ms
    FROM roster_changes
    WHERE app = asked_app AND conversation IN asked_conversations AND user IN ('', asked_user)
    GROUP BY conversation
) AS standing USING (conversation)
WHERE NOT ifNull(is_outsider, 0)
    AND toUnixTimestamp64Milli(sent_at) >= greatest(ifNull(unread_from_ms, 0), ifNull(joined_ms, 0))
    AND (conversation, message, sent_at) NOT IN
    (
        SELECT conversation, message, sent_at
        FROM receipts
        WHERE app = asked_app AND conversation IN asked_conversations AND kind = 'read' AND reader = asked_user
    )
    AND (conversation, message, sent_at) NOT IN
    (
        SELECT conversation, message, sent_at
        FROM recalls
        WHERE app = asked_app AND conversation IN asked_conversations
    )
GROUP BY conversation
ORDER BY conversation
