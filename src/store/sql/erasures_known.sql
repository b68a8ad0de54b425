-- Erasures that workers have met, with where their copies stand.
SELECT
    app, version, any(user) AS user, epoch,
    groupArray(partition) AS partitions, groupArray(first_offset) AS offsets,
    toUnixTimestamp64Milli(now64(3, 'UTC')) AS looked_at
FROM
(
    SELECT app, version, any(user) AS user, epoch, partition, min(offset) AS first_offset
    FROM policies
    WHERE type = 'erase'
    GROUP BY app, version, epoch, partition
)
GROUP BY app, version, epoch
ORDER BY version, app
