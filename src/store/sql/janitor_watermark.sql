-- The smallest watermark of the partitions that had events in the last seven days, by the hours of their records; no row
-- where none had. Control records are no events: they come to every partition, idle ones too.
SELECT min(watermark) AS watermark
FROM
(
    SELECT
        partition,
        argMaxIf(ledger.total, ledger.next_offset, measure = 'watermark') AS watermark,
        maxIf(hour, measure = 'records' AND type NOT IN ('', 'policy', 'erase')) AS last_hour
    FROM ledger
    WHERE epoch = ? AND topic = ?
    GROUP BY partition
)
WHERE last_hour >= now() - INTERVAL 7 DAY
HAVING count() > 0
