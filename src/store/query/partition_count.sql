-- How many partitions the events topic has: fixed for its life, so any row of the ledger tells.
SELECT partitions
FROM ledger
WHERE epoch = toUInt16(?) AND topic = ?
LIMIT 1
