-- Whether a user is a member of a group now: 1 or 0.
SELECT toUInt8(argMax(role IS NOT NULL, (epoch, offset))) AS is_member
FROM roster_changes
WHERE app = ? AND conversation = ? AND user = ?
