-- Counts the records whose rows are about to go, as the check of totals does.
INSERT INTO dropped (table_name, epoch, partition, week, app, version, until, rows)
SELECT
    '${table}', epoch, partition, toDate32('1970-01-01'), {app:String}, {version:UInt64},
    if(epoch = {epoch:UInt16},
        transform(partition, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}, toUInt64(0)) + 1,
        toUInt64(18446744073709551615)),
    uniqExact(${own_epoch}, ${own_partition}, ${own_offset})
FROM ${table}
WHERE
