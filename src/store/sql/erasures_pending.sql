-- Erasures that were not swept since they were written, with where their copies stand: of a topic's partitions those that
-- have met it. A second time an hour later: what a dead worker had on its way may land after the first.
SELECT
    app, erased.version AS version, user, epoch, partitions, offsets,
    toUnixTimestamp64Milli(now64(3, 'UTC')) AS looked_at
FROM
(
    SELECT
        app, version, any(user) AS user, epoch,
        groupArray(partition) AS partitions, groupArray(first_offset) AS offsets, max(written_at) AS written_at
    FROM
    (
        SELECT
            app, version, any(user) AS user, epoch, partition,
            min(offset) AS first_offset, max(inserted_at) AS written_at
        FROM policies
        WHERE type = 'erase'
        GROUP BY app, version, epoch, partition
    )
    GROUP BY app, version, epoch
) AS erased
LEFT JOIN
(
    SELECT app, version, max(swept_at) AS last_swept_at FROM erasure_sweeps GROUP BY app, version
) AS swept USING (app, version)
WHERE last_swept_at <= written_at
   OR (last_swept_at < written_at + INTERVAL 1 HOUR AND now64(3, 'UTC') >= written_at + INTERVAL 1 HOUR)
ORDER BY version, app
