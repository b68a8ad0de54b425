-- The same of tables whose rows may be about records of older epochs.
INSERT INTO dropped (table_name, epoch, partition, week, app, version, until, rows)
WITH
    ? AS counted_table,
    ? AS partition_id,
    toDate32(parseDateTime(partition_id, '%Y%m%d')) AS monday,
    arrayFirst(counted_until -> counted_until > offset, ends_counted) AS end_counted
SELECT
    counted_table, epoch, partition, monday, '', 0, if(end_counted = 0, max(offset) + 1, end_counted),
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
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
