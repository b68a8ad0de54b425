-- Control records applied before the committed offsets. Every partition of an older epoch had its copy, and each counts
-- for every partition now: of a policy the first copy is enough, of an erasure each says what stands in front of it.
WITH
    toUInt16(?) AS current_epoch,
    toUInt32(?) AS partition_count,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed,
    ? AS wanted_app,
    ? AS wanted_conversation
SELECT
    app, type, version, effective_from, policy, user,
    epoch, partition, offset, own_offset, record_time
FROM policies
WHERE (wanted_app = '' OR app = wanted_app)
  AND (epoch < current_epoch
    OR (epoch = current_epoch AND has(wanted, partition)
        AND offset < transform(partition, wanted, committed, toUInt64(0))))
ORDER BY app, version, epoch, offset
LIMIT 1 BY app, version, epoch, if(epoch = current_epoch OR type = 'erase', partition, 0)
