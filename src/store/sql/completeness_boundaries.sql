-- The last flush boundary at or before each offset, by place (epoch << 32 | partition), and the watermark as of it.
WITH
    toUInt16(?) AS current_epoch,
    ? AS events_topic,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS offsets
SELECT
    bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
    max(ledger.next_offset) AS next_offset,
    argMax(total, ledger.next_offset) AS watermark
FROM ledger
WHERE epoch = current_epoch AND topic = events_topic AND has(wanted, partition)
  AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
  AND ledger.next_offset <= transform(partition, wanted, offsets, toUInt64(0))
GROUP BY place
