WHERE outcome IN ? AND NOT settled
  AND (? OR app = ?)
  AND record_time >= fromUnixTimestamp64Milli(toInt64(?), 'UTC')
  AND record_time < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
  AND (epoch < ? OR (epoch = ? AND offset < transform(partition, CAST(? AS Array(UInt32)), CAST(? AS Array(UInt64)), toUInt64(0))))
ORDER BY record_time, own_epoch, own_partition, own_offset
LIMIT 1 BY own_epoch, own_partition, own_offset
