-- How many records' rows were removed on purpose, by place (epoch << 32 | partition).
SELECT table_name, place, sum(largest) AS rows
FROM
(
    SELECT
        table_name,
        bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
        max(dropped.rows) AS largest
    FROM dropped
    GROUP BY table_name, epoch, partition, week, app, version, until
)
GROUP BY table_name, place
