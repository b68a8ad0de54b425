-- Takes the boundaries within closed hours out of the ledger, whole: their cells and their watermark.
DELETE FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset < ? AND NOT has(CAST(? AS Array(UInt64)), next_offset)
