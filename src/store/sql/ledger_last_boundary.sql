-- The last end of a flush in a range.
SELECT next_offset
FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset > ? AND next_offset <= ?
  AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
ORDER BY next_offset DESC
LIMIT 1
