-- The group message with the most readers.
SELECT app, splitByChar('/', conversation)[-1] AS `group`, message, uniqExact(reader) AS readers
FROM receipts
WHERE kind = 'read' AND conversation LIKE '%/g/%'
GROUP BY app, conversation, message
ORDER BY readers DESC, message
LIMIT 1
