-- What the marks of readers in single chats say of messages to them: the time of the last mark in front of the message in
-- the log, which is the one that it met; and place and time of the first mark behind it that covers it (sent at or before
-- the mark, which is no later than the message's validity allows). Marks of a reader only grow, so nothing further can
-- matter. Of a message are asked: number, conversation, reader, time, place in the log, validity in ms.
--
-- No mark in front of a message can be later than it by more than `reach` (the larger of its validity and the longest
-- disorder of the log): the watermark would have passed the message.
WITH asked AS
(
    SELECT
        message.1                                               AS number,
        message.2                                               AS conversation,
        message.3                                               AS reader,
        message.4                                               AS sent_at_ms,
        message.5                                               AS message_place,
        message.6                                               AS validity_ms
    FROM (SELECT arrayJoin(CAST(?, 'Array(Tuple(UInt32, String, String, Int64, UInt64, Int64))')) AS message)
)
SELECT
    number,
    argMaxIf(toNullable(at_ms), place, place < message_place)                                          AS met_at_ms,
    argMinIf(toNullable(at_ms), place, place > message_place AND at_ms - sent_at_ms <= validity_ms)    AS later_at_ms,
    minIf(toNullable(place), place > message_place AND at_ms - sent_at_ms <= validity_ms)              AS later_place
FROM
(
    SELECT
        conversation,
        reader,
        toUnixTimestamp64Milli(at)                              AS at_ms,
        bitOr(bitShiftLeft(toUInt64(epoch), 48), offset)        AS place
    FROM marks
    WHERE app = ? AND conversation IN ? AND chat = 'single'
        AND at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') AND at <= fromUnixTimestamp64Milli(toInt64(?), 'UTC')
) AS marks
INNER JOIN asked ON marks.conversation = asked.conversation AND marks.reader = asked.reader
WHERE at_ms >= sent_at_ms
GROUP BY number
