-- Of each partition's hours before the last `detail_hours` ones: the last boundary at which one of its cells changed. As
-- of it the hour is complete, as hours never go back.
WITH toUInt32(?) AS detail_hours
SELECT partition, hours.hour AS hour, hours.boundary AS boundary
FROM
(
    SELECT partition, hour, max(next_offset) AS boundary
    FROM ledger
    WHERE epoch = ? AND topic = ? AND measure != 'watermark'
    GROUP BY partition, hour
) AS hours
INNER JOIN
(
    SELECT partition, max(hour) AS last_hour
    FROM ledger
    WHERE epoch = ? AND topic = ? AND measure != 'watermark'
    GROUP BY partition
) AS last USING (partition)
WHERE hours.hour < last.last_hour - toIntervalHour(detail_hours)
ORDER BY partition, hour
