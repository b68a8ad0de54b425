-- Where the ledgers of older epochs' partitions end; they are drained.
SELECT epoch, partition, max(ledger.next_offset) AS next_offset
FROM ledger
WHERE epoch >= toUInt16(?) AND epoch < toUInt16(?)
    AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark' AND hour = toDateTime64(0, 3, 'UTC')
GROUP BY epoch, partition
