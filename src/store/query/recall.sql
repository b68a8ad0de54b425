-- When a message was taken back; the first recall in log order wins.
SELECT toUnixTimestamp64Milli(at) AS at_ms
FROM recalls
WHERE app = ? AND conversation = ? AND message = ? AND sent_at = fromUnixTimestamp64Milli(toInt64(?), 'UTC')
ORDER BY version DESC
LIMIT 1
