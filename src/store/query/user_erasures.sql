-- The erasures of a user that workers have met, and when what was in front of them was taken out of the tables.
SELECT
    erased.version AS version, epoch, partitions, offsets,
    toUnixTimestamp64Milli(written_at) AS written_at_ms, toUnixTimestamp64Milli(last_swept_at) AS swept_at_ms
FROM
(
    SELECT
        app, version, epoch, groupArray(partition) AS partitions, groupArray(first_offset) AS offsets,
        max(written) AS written_at
    FROM
    (
        SELECT app, version, epoch, partition, min(offset) AS first_offset, max(inserted_at) AS written
        FROM policies
        WHERE app = ? AND type = 'erase' AND user = ?
        GROUP BY app, version, epoch, partition
    )
    GROUP BY app, version, epoch
) AS erased
LEFT JOIN
(
    SELECT app, version, max(swept_at) AS last_swept_at FROM erasure_sweeps WHERE app = ? GROUP BY app, version
) AS swept USING (app, version)
ORDER BY version
