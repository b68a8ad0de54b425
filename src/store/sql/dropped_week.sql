-- Counts the records whose rows are about to go with a week, as the check of totals does, each in the stretch of offsets in
-- which an earlier run counted it: what that run left in place, or what came back after it, replaces its count.
INSERT INTO dropped (table_name, epoch, partition, week, app, version, until, rows)
WITH
    ? AS counted_table,
    ? AS partition_id,
    toDate32(parseDateTime(partition_id, '%Y%m%d')) AS monday,
    arrayFirst(counted_until -> counted_until > offset, ends_counted) AS end_counted
SELECT
    counted_table, epoch, partition, monday, '', 0, if(end_counted = 0, max(offset) + 1, end_counted),
    groupBitmap(own_offset)
FROM ? AS rows_of_week
LEFT JOIN
(
    SELECT epoch, partition, arraySort(groupUniqArray(until)) AS ends_counted
    FROM dropped
    WHERE table_name = counted_table AND week = monday AND app = ''
    GROUP BY epoch, partition
) AS counted USING (epoch, partition)
WHERE _partition_id = partition_id
GROUP BY epoch, partition, end_counted
