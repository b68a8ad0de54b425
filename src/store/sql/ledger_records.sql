-- The sum of all outcomes as of an offset: the latest total of each cell.
SELECT sum(latest) AS records
FROM
(
    SELECT argMax(ledger.total, next_offset) AS latest
    FROM ledger
    WHERE epoch = ? AND topic = ? AND partition = ? AND next_offset > ? AND next_offset <= ? AND measure = 'records'
    GROUP BY app, type, outcome, hour
)
