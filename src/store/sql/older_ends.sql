-- Where the ledgers of the older epochs' partitions end, by place (epoch << 32 | partition).
SELECT
    bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
    max(ledger.next_offset) AS next_offset
FROM ledger
WHERE epoch < ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
GROUP BY place
ORDER BY place
