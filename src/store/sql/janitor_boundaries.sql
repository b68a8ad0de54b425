-- How many flush boundaries the ledger holds of a partition before an offset.
SELECT uniqExact(next_offset) FROM ledger WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset < ?
