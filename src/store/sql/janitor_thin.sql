-- Takes the boundaries within stretches out of the ledger, whole: their cells and their watermark.
DELETE FROM ledger
WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset > ? AND next_offset < ?
    AND arrayExists(
        (boundary_before, boundary) -> next_offset > boundary_before AND next_offset < boundary,
        CAST(? AS Array(UInt64)), CAST(? AS Array(UInt64)))
