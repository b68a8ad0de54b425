-- The last watermark of each partition of the older epochs; they are drained, so that no row of theirs is unseen.
SELECT epoch, partition, argMax(total, ledger.next_offset) AS watermark
FROM ledger
WHERE epoch < ? AND app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
GROUP BY epoch, partition
