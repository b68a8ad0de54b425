-- The largest watermark of any partition of the older epochs; they are drained, so that no row of theirs is unseen.
SELECT max(total) AS watermark
FROM ledger
WHERE epoch < ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
