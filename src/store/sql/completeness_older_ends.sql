-- Where the ledgers of the older epochs' partitions end, by place (epoch << 32 | partition); they are drained.
SELECT
    bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
    max(ledger.next_offset) AS next_offset,
    argMax(total, ledger.next_offset) AS watermark
FROM ledger
WHERE epoch < ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
GROUP BY place
