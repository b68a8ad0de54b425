-- How many records have rows in each table as of the offsets asked for, by place (epoch << 32 | partition). A row
-- written twice counts once: by the offset of the record it is about, which in a wait's end may be an older epoch's.
WITH
    CAST(? AS Array(UInt64)) AS places,
    CAST(? AS Array(UInt64)) AS offsets,
    bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
    offset < transform(place, places, offsets, toUInt64(0)) AS is_seen
SELECT 'messages' AS table_name, place, groupBitmap(offset) AS rows
FROM messages WHERE is_seen GROUP BY place
UNION ALL
SELECT 'receipts', place,
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
FROM receipts WHERE is_seen GROUP BY place
UNION ALL
SELECT 'recalls', place,
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
FROM recalls WHERE is_seen GROUP BY place
UNION ALL
-- Of a whole roster its head: how many users it changed the ledger does not tell.
SELECT 'roster_changes', place, groupBitmap(offset)
FROM roster_changes WHERE is_seen AND change != 'by_roster' GROUP BY place
UNION ALL
SELECT 'marks', place, groupBitmap(offset)
FROM marks WHERE is_seen GROUP BY place
UNION ALL
SELECT 'parked', place, groupBitmap(offset)
FROM parked WHERE is_seen GROUP BY place
UNION ALL
SELECT 'settlements', place,
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
FROM settlements WHERE is_seen GROUP BY place
UNION ALL
SELECT 'policies', place, groupBitmap(offset)
FROM policies WHERE is_seen GROUP BY place
UNION ALL
SELECT 'rejections', place,
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
FROM rejections WHERE is_seen GROUP BY place
UNION ALL
SELECT 'message_facts', place,
    groupBitmapIf(own_offset, own_epoch = epoch) + uniqExactIf((own_epoch, own_partition, own_offset), own_epoch != epoch)
FROM message_facts WHERE is_seen GROUP BY place
