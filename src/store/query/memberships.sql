-- Of which of some groups a user is a member now.
SELECT conversation
FROM roster_changes
WHERE app = ? AND conversation IN ? AND user = ?
GROUP BY conversation
HAVING argMax(role IS NOT NULL, (epoch, offset))
