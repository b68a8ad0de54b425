-- The policy of an app in force at a time; every partition has a copy of each version.
SELECT policy
FROM policies
WHERE app = ? AND type = 'policy' AND effective_from <= fromUnixTimestamp64Milli(toInt64(?), 'UTC')
ORDER BY effective_from DESC, version DESC
LIMIT 1
