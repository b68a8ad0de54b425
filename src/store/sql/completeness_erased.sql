-- Before which offset of each partition rows in front of erasures were taken out, by place (epoch << 32 | partition).
SELECT bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place, max(dropped.until) AS until
FROM dropped
WHERE table_name = '' AND version > 0 AND epoch = ?
GROUP BY place
