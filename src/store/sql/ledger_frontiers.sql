-- The last watermark cell of each partition; every flush writes one.
SELECT
    partition,
    max(ledger.next_offset) AS next_offset,
    argMax(total, ledger.next_offset) AS watermark,
    toUnixTimestamp64Milli(argMax(ledger.inserted_at, ledger.next_offset)) AS inserted_at
FROM ledger
WHERE epoch = ? AND topic = ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
GROUP BY partition
ORDER BY partition
