-- How many messages of a group were opened for receipts on a local day. Clocks are never more than a day away from UTC's,
-- so that the weeks around the day hold all of them.
SELECT uniqExact(message, sent_at) AS opened
FROM messages
WHERE app = ? AND conversation = ?
    AND sent_at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND sent_at < fromUnixTimestamp64Milli(toInt64(?), 'UTC')
    AND quota_day = addDays(toDate32('1970-01-01'), toInt32(?)) AND status = 'opened'
