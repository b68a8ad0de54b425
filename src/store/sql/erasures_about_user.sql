-- What the user did, and all of his single chats.
${app} = {app:String}
AND (
    ${user} = {user:String}
    OR startsWith(${conversation}, concat({app:String}, '/u/', {user:String}, '/'))
    OR (startsWith(${conversation}, concat({app:String}, '/u/')) AND endsWith(${conversation}, concat('/', {user:String})))
)
