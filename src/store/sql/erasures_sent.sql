-- Group messages that the user sent.
app = {app:String} AND chat = 'group' AND sender = {user:String}
