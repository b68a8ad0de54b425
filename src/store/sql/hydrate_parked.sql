-- Records parked before the committed offsets whose wait had no end before them. A wait ends at the latest when the
-- watermark passes its deadline, so that deadlines behind it need no look at the settlements.
WITH
    toUInt16(?) AS current_epoch,
    toUInt32(?) AS partition_count,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed,
    CAST(? AS Array(Int64)) AS floors,
    if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home
SELECT
    app, conversation, type, chat, message, user, recipient, event_id, at, content, deadline,
    epoch, offset, own_offset, record_time, home
FROM parked
WHERE has(wanted, home)
  AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
  AND deadline >= fromUnixTimestamp64Milli(arrayMin(floors), 'UTC')
  AND toUnixTimestamp64Milli(deadline) >= transform(home, wanted, floors, toInt64(0))
  AND (conversation, own_offset, type, message, user, event_id) NOT IN
  (
    WITH
        if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home
    SELECT conversation, own_offset, type, message, user, event_id
    FROM settlements
    WHERE has(wanted, home)
      AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
      AND at >= (SELECT min(at) FROM parked WHERE deadline >= fromUnixTimestamp64Milli(arrayMin(floors), 'UTC'))
  )
