-- Every topic that the ledger was written for.
SELECT DISTINCT epoch, topic, partitions
FROM ledger
WHERE app = '' AND type = '' AND outcome = '' AND measure = 'watermark'
ORDER BY epoch, topic, partitions
