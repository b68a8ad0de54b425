-- What is known of a user in a group now: his role, '' where he has none, and whether the whole roster was ever told.
WITH ? AS asked_user
SELECT
    argMaxIf(ifNull(toString(role), ''), (epoch, offset), user = asked_user) AS role_name,
    toUInt8(countIf(user = '') > 0)                                          AS is_roster_known
FROM roster_changes
WHERE app = ? AND conversation = ? AND user IN ('', asked_user)
