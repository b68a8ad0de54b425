-- Refused records that the user sent, that are of a single chat of his, or that name him: what could not be read is
-- searched for his id as JSON spells it, beside the app's.
(
    (
        app = {app:String}
        AND (
            user = {user:String}
            OR startsWith(conversation, concat({app:String}, '/u/', {user:String}, '/'))
            OR (startsWith(conversation, concat({app:String}, '/u/')) AND endsWith(conversation, concat('/', {user:String})))
            OR position(value, {spelled_user:String}) > 0
        )
    )
    OR (app = '' AND position(value, {spelled_user:String}) > 0 AND position(value, {spelled_app:String}) > 0)
)
