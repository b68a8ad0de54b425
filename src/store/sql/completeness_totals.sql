-- Outcome sums as of the offsets asked for, by place (epoch << 32 | partition).
SELECT place, type, toString(measure_of_cell) AS measure, outcome, sum(latest) AS total
FROM
(
    WITH
        CAST(? AS Array(UInt64)) AS places,
        CAST(? AS Array(UInt64)) AS offsets
    SELECT
        bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)) AS place,
        type, ledger.measure AS measure_of_cell, outcome,
        argMax(ledger.total, next_offset) AS latest
    FROM ledger
    WHERE ledger.measure IN ('records', 'settled') AND next_offset <= transform(place, places, offsets, toUInt64(0))
    GROUP BY place, app, type, measure_of_cell, outcome, hour
)
GROUP BY place, type, measure_of_cell, outcome
