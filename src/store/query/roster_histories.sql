-- What happened to the members of groups of an app: of each user his changes as (place in the log, whether he is a
-- member after it, time in ms), in log order. Who was asked to read a message follows from the changes before its
-- place, who has left since from those behind it; so one reading serves any number of messages of a group.
SELECT
    conversation,
    user,
    arraySort(groupArray((bitOr(bitShiftLeft(toUInt64(epoch), 48), offset), role IS NOT NULL, toUnixTimestamp64Milli(at)))) AS changes
FROM roster_changes
WHERE app = ? AND conversation IN ? AND user != ''
GROUP BY conversation, user
