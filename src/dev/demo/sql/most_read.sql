-- The group message with the most readers; of one that was taken back the API shows none.
SELECT app, splitByChar('/', conversation)[-1] AS `group`, message, uniqExact(reader) AS readers
FROM receipts
WHERE kind = 'read' AND conversation LIKE '%/g/%'
    AND (app, conversation, message) NOT IN (SELECT app, conversation, message FROM recalls)
GROUP BY app, conversation, message
ORDER BY readers DESC, message
LIMIT 1
