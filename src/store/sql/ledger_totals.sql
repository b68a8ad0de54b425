-- Outcome sums: the latest total of each cell, summed over partitions and hours.
SELECT app, type, outcome, toString(measure_of_cell) AS measure, sum(latest) AS total
FROM
(
    SELECT app, type, outcome, ledger.measure AS measure_of_cell, argMax(ledger.total, next_offset) AS latest
    FROM ledger
    WHERE epoch = ? AND topic = ? AND ledger.measure IN ('records', 'settled')
    GROUP BY partition, app, type, outcome, ledger.measure, hour
)
GROUP BY app, type, outcome, measure_of_cell
ORDER BY measure, app, type, outcome
