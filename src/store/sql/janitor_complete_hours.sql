-- Writes every cell of closed hours once more, as of the last boundary of its hour: the same totals, as nothing of the
-- hour changed between a cell's own last row and that boundary. It makes each of these boundaries complete by itself.
INSERT INTO ledger
    (epoch, topic, partition, partitions, app, type, outcome, measure, hour, next_offset, total, buckets, bucket_totals)
WITH
    CAST(? AS Array(Int64)) AS hours,
    CAST(? AS Array(UInt64)) AS boundaries
SELECT
    epoch, topic, partition, any(ledger.partitions) AS partitions, app, type, outcome, measure, hour,
    transform(toUnixTimestamp64Milli(hour), hours, boundaries, toUInt64(0)) AS next_offset,
    argMax(ledger.total, ledger.next_offset) AS total,
    argMax(ledger.buckets, ledger.next_offset) AS buckets,
    argMax(ledger.bucket_totals, ledger.next_offset) AS bucket_totals
FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND measure != 'watermark' AND has(hours, toUnixTimestamp64Milli(hour))
GROUP BY epoch, topic, partition, app, type, outcome, measure, hour
