-- Counts the records whose rows are about to go with a week, as the check of totals does. What an earlier run counted,
-- and may have left in place, is not counted again.
INSERT INTO dropped (table_name, epoch, partition, week, app, version, until, rows)
WITH
    ? AS counted_table,
    ? AS partition_id,
    toDate32(parseDateTime(partition_id, '%Y%m%d')) AS monday
SELECT
    counted_table, epoch, partition, monday, '', 0, max(offset) + 1, groupBitmap(own_offset)
FROM ? AS rows_of_week
LEFT JOIN
(
    SELECT epoch, partition, max(until) AS counted_until
    FROM dropped
    WHERE table_name = counted_table AND week = monday AND app = ''
    GROUP BY epoch, partition
) AS counted USING (epoch, partition)
WHERE _partition_id = partition_id AND offset >= counted_until
GROUP BY epoch, partition
