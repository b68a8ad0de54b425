-- Records parked before the committed offsets whose wait had no end before them. A wait ends at the latest when the
-- watermark of the partition it waits in passes its deadline, so that deadlines behind it need no look at the
-- settlements. Of an older epoch that is the last watermark of the partition where the record stands: the new epoch
-- starts at the largest of all, so that such a wait may be over without having ended.
WITH
    toUInt16(?) AS current_epoch,
    toUInt32(?) AS partition_count,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed,
    ? AS wanted_app,
    ? AS wanted_conversation,
    CAST(? AS Array(Int64)) AS floors,
    CAST(? AS Array(UInt64)) AS older_partitions,
    CAST(? AS Array(Int64)) AS older_floors,
    fromUnixTimestamp64Milli(toInt64(?), 'UTC') AS earliest,
    if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home,
    if(epoch = current_epoch,
        transform(home, wanted, floors, toInt64(0)),
        older_floors[indexOf(older_partitions, bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)))]) AS floor
SELECT
    app, conversation, type, chat, message, user, recipient, event_id, at, content, deadline,
    own_epoch, own_partition, epoch, offset, own_offset, record_time, home
FROM parked
WHERE has(wanted, home)
  AND (wanted_app = '' OR app = wanted_app) AND (wanted_conversation = '' OR conversation = wanted_conversation)
  AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
  AND deadline >= earliest
  AND toUnixTimestamp64Milli(deadline) >= floor
  AND (own_epoch, own_partition, own_offset) NOT IN
  (
    WITH
        if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home
    SELECT own_epoch, own_partition, own_offset
    FROM settlements
    WHERE has(wanted, home)
      AND (wanted_app = '' OR app = wanted_app) AND (wanted_conversation = '' OR conversation = wanted_conversation)
      AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
      AND at >= (SELECT min(at) FROM parked WHERE deadline >= earliest)
  )
