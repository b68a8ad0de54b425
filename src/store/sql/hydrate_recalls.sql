-- Recalls seen before the committed offsets, of messages sent at or after the oldest one needed.
WITH
    toUInt16(?) AS current_epoch,
    toUInt32(?) AS partition_count,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed,
    ? AS wanted_app,
    ? AS wanted_conversation,
    CAST(? AS Array(Int64)) AS floors,
    if(epoch = current_epoch, partition, toUInt32(bitAnd(kafkaMurmurHash(conversation), 2147483647) % partition_count)) AS home
SELECT
    app, conversation, message, sent_at, erasures, recalled_by, at, recall_id,
    own_epoch, own_partition, epoch, offset, own_offset, record_time, home
FROM recalls
WHERE has(wanted, home)
  AND (wanted_app = '' OR app = wanted_app) AND (wanted_conversation = '' OR conversation = wanted_conversation)
  AND (epoch < current_epoch OR (epoch = current_epoch AND offset < transform(home, wanted, committed, toUInt64(0))))
  AND sent_at >= fromUnixTimestamp64Milli(arrayMin(floors), 'UTC')
  AND toUnixTimestamp64Milli(sent_at) >= transform(home, wanted, floors, toInt64(0))
