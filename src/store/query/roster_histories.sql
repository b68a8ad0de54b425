-- What happened to the members of groups of an app, in no order. Who was asked to read a message follows from the changes
-- before its place in the log, who has left since from those behind it; so one reading serves any number of messages of a
-- group.
SELECT conversation, user, epoch, offset, role, at
FROM roster_changes
WHERE app = ? AND conversation IN ? AND user != ''
