-- The stretches of the ledger that hold more boundaries than are kept. Of each partition's hours before the last
-- `detail_hours` ones the last boundary is kept at which one of the hour's cells changed: as of it the hour is complete,
-- as hours never go back. A stretch reaches from one kept boundary to the next; both hours of a flush over their turn may
-- end with it.
WITH toUInt32(?) AS detail_hours
SELECT
    kept.partition               AS partition,
    kept.hours                   AS hours,
    kept.boundary_before         AS boundary_before,
    kept.boundary                AS boundary,
    toUInt64(count() - 1)        AS boundaries_over
FROM
(
    SELECT partition, next_offset FROM ledger WHERE epoch = ? AND topic = ? GROUP BY partition, next_offset
) AS ends
ASOF INNER JOIN
(
    SELECT
        partition, boundary, hours,
        lagInFrame(boundary) OVER (PARTITION BY partition ORDER BY boundary ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            AS boundary_before
    FROM
    (
        SELECT partition, boundary, arraySort(groupArray(toUnixTimestamp64Milli(hour))) AS hours
        FROM
        (
            SELECT partition, hour, max(next_offset) AS boundary
            FROM ledger
            WHERE epoch = ? AND topic = ? AND measure != 'watermark'
            GROUP BY partition, hour
        ) AS by_hour
        INNER JOIN
        (
            SELECT partition, max(hour) AS last_hour
            FROM ledger
            WHERE epoch = ? AND topic = ? AND measure != 'watermark'
            GROUP BY partition
        ) AS last USING (partition)
        WHERE by_hour.hour < last.last_hour - toIntervalHour(detail_hours)
        GROUP BY partition, boundary
    )
) AS kept ON ends.partition = kept.partition AND ends.next_offset <= kept.boundary
GROUP BY partition, hours, boundary_before, boundary
HAVING count() > 1
ORDER BY partition, boundary
LIMIT toUInt64(?)
