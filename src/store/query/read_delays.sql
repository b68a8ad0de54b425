-- Delays of reading in groups, and where asked for in single chats as well, by step of the receipt's time, exact; those of
-- messages in small groups are only counted. The size of a group is that of the message's audience and its sender; where
-- no roster was known, of its readers here.
WITH
    toInt64(?)  AS step_ms,
    toInt64(?)  AS from_ms,
    toInt64(?)  AS until_ms,
    ?           AS asked_app,
    ?           AS asked_prefix,
    ?           AS asked_group,
    toUInt32(?) AS smallest_shown,
    ?           AS with_singles
SELECT
    start_ms,
    countIf(NOT is_small)                                             AS receipts,
    quantilesExactIf(0.5, 0.9, 0.95, 0.99)(delay_ms, NOT is_small)    AS quantiles,
    countIf(is_small)                                                 AS withheld
FROM
(
    SELECT
        intDiv(one.1, step_ms) * step_ms                              AS start_ms,
        one.2                                                         AS delay_ms,
        is_small
    FROM
    (
        SELECT
            arrayJoin(reads)                                          AS one,
            ifNull(audience, length(reads)) + 1 < smallest_shown      AS is_small
        FROM
        (
            SELECT conversation, message, sent_at, groupArray((at_ms, delay_ms)) AS reads
            FROM
            (
                SELECT
                    conversation, message, sent_at,
                    toUnixTimestamp64Milli(at)                                    AS at_ms,
                    greatest(at_ms - toUnixTimestamp64Milli(sent_at), toInt64(0)) AS delay_ms
                FROM receipts
                WHERE app = asked_app AND startsWith(conversation, asked_prefix)
                    AND (asked_group = '' OR conversation = asked_group) AND kind = 'read'
                    AND sent_at >= fromUnixTimestamp64Milli(from_ms - 7776000000, 'UTC')
                    AND at >= fromUnixTimestamp64Milli(from_ms, 'UTC')
                    AND at < fromUnixTimestamp64Milli(until_ms, 'UTC')
                LIMIT 1 BY own_epoch, own_partition, own_offset
            )
            GROUP BY conversation, message, sent_at
        ) AS read
        INNER JOIN
        (
            SELECT conversation, message, sent_at, any(messages.audience) AS audience
            FROM messages
            WHERE app = asked_app AND startsWith(conversation, asked_prefix)
                AND (asked_group = '' OR conversation = asked_group) AND status = 'opened'
                AND sent_at >= fromUnixTimestamp64Milli(from_ms - 7776000000, 'UTC')
            GROUP BY conversation, message, sent_at
        ) AS sent USING (conversation, message, sent_at)
    )
    UNION ALL
    SELECT
        intDiv(at_ms, step_ms) * step_ms                                          AS start_ms,
        delay_ms,
        toUInt8(0)                                                                AS is_small
    FROM
    (
        SELECT
            toUnixTimestamp64Milli(at)                                            AS at_ms,
            greatest(at_ms - toUnixTimestamp64Milli(sent_at), toInt64(0))         AS delay_ms
        FROM receipts
        WHERE with_singles AND app = asked_app AND startsWith(conversation, concat(asked_app, '/u/')) AND kind = 'read'
            AND sent_at >= fromUnixTimestamp64Milli(from_ms - 7776000000, 'UTC')
            AND at >= fromUnixTimestamp64Milli(from_ms, 'UTC') AND at < fromUnixTimestamp64Milli(until_ms, 'UTC')
        LIMIT 1 BY own_epoch, own_partition, own_offset
    )
)
GROUP BY start_ms
ORDER BY start_ms
