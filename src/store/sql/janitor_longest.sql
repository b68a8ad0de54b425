-- The longest validity of a message and the longest wait of a parked record that the tables hold, in ms.
SELECT
    ifNull((SELECT max(validity_ms) FROM messages), 0) AS validity_ms,
    ifNull((SELECT toUInt64(greatest(max(dateDiff('millisecond', at, deadline)), 0)) FROM parked), 0) AS wait_ms
