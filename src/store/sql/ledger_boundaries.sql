-- The flush boundaries of a partition within a range of its log, both ends included; every flush writes a watermark cell.
SELECT DISTINCT next_offset
FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
  AND next_offset BETWEEN ? AND ?
ORDER BY next_offset
