-- The totals as of the committed offsets of the cells of each partition's latest hour: hours never go back, so that
-- cells of earlier ones are closed.
WITH
    toUInt16(?) AS current_epoch,
    ? AS events_topic,
    CAST(? AS Array(UInt32)) AS wanted,
    CAST(? AS Array(UInt64)) AS committed
SELECT
    partition, app, type, measure, outcome, hour,
    max(ledger.next_offset) AS next_offset,
    argMax(ledger.total, ledger.next_offset) AS total,
    argMax(ledger.buckets, ledger.next_offset) AS buckets,
    argMax(ledger.bucket_totals, ledger.next_offset) AS bucket_totals
FROM ledger
WHERE epoch = current_epoch AND topic = events_topic AND has(wanted, partition) AND measure != 'watermark'
  AND ledger.next_offset <= transform(partition, wanted, committed, toUInt64(0))
  AND (partition, hour) IN
  (
    SELECT partition, max(hour)
    FROM ledger
    WHERE epoch = current_epoch AND topic = events_topic AND has(wanted, partition) AND measure != 'watermark'
      AND next_offset <= transform(partition, wanted, committed, toUInt64(0))
    GROUP BY partition
  )
GROUP BY partition, app, type, measure, outcome, hour
