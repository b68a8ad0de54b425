-- The ends of flushes in a range; every flush writes the watermark's cell.
SELECT DISTINCT next_offset
FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset > ? AND next_offset <= ?
  AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
ORDER BY next_offset
LIMIT ?
