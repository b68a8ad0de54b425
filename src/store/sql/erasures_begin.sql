-- Notes in which partitions rows are about to go: states from before the erasure cannot be read back from here on.
INSERT INTO dropped (table_name, epoch, partition, week, app, version, until, rows)
SELECT
    '', {epoch:UInt16}, copy.1, toDate32('1970-01-01'), {app:String}, {version:UInt64}, copy.2 + 1, 0
FROM (SELECT arrayJoin(arrayZip({partitions:Array(UInt32)}, {offsets:Array(UInt64)})) AS copy)
