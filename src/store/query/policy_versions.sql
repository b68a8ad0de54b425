-- Every version of an app's policy, and how many partitions have met it.
SELECT
    version,
    toUnixTimestamp64Milli(assumeNotNull(any(effective_from))) AS effective_from_ms,
    any(policy)                                                AS limits,
    uniqExact(epoch, partition)                                AS partitions_met
FROM policies
WHERE app = ? AND type = 'policy'
GROUP BY version
ORDER BY effective_from_ms, version
