-- What is known of group messages that the user sent, which are still there.
app = {app:String}
AND (conversation, message, sent_at) IN
(
    SELECT conversation, message, sent_at
    FROM messages
    WHERE app = {app:String} AND chat = 'group' AND sender = {user:String}
)
