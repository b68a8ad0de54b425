-- How long it took until 50, 80 and 100 % of the audience of group messages had read them, by step of the message's time;
-- messages in small groups are only counted. Readers count who were members at the message's place in the log: who joined
-- later takes nobody's place.
WITH
    toInt64(?)  AS step_ms,
    toInt64(?)  AS from_ms,
    toInt64(?)  AS until_ms,
    ?           AS asked_app,
    ?           AS asked_prefix,
    ?           AS asked_group,
    toUInt32(?) AS smallest_shown
SELECT
    start_ms,
    countIf(NOT is_small)                                                              AS messages,
    countIf(half >= 0 AND NOT is_small)                                                AS half_messages,
    quantilesExactIf(0.5, 0.9, 0.95, 0.99)(half, half >= 0 AND NOT is_small)           AS half_quantiles,
    countIf(most >= 0 AND NOT is_small)                                                AS most_messages,
    quantilesExactIf(0.5, 0.9, 0.95, 0.99)(most, most >= 0 AND NOT is_small)           AS most_quantiles,
    countIf(everybody >= 0 AND NOT is_small)                                           AS all_messages,
    quantilesExactIf(0.5, 0.9, 0.95, 0.99)(everybody, everybody >= 0 AND NOT is_small) AS all_quantiles,
    countIf(is_small)                                                                  AS withheld
FROM
(
    SELECT
        intDiv(toUnixTimestamp64Milli(sent_at), step_ms) * step_ms AS start_ms,
        arraySort(delays)                                          AS sorted,
        -- Whole numbers: half of an audience of three are two.
        intDiv(audience * 50 + 99, 100)                            AS half_of_it,
        intDiv(audience * 80 + 99, 100)                            AS most_of_it,
        if(length(sorted) >= half_of_it, sorted[half_of_it], -1)   AS half,
        if(length(sorted) >= most_of_it, sorted[most_of_it], -1)   AS most,
        if(length(sorted) >= audience, sorted[audience], -1)       AS everybody,
        audience + 1 < smallest_shown                              AS is_small
    FROM
    (
        SELECT conversation, message, sent_at, toUInt64(assumeNotNull(any(messages.audience))) AS audience
        FROM messages
        WHERE app = asked_app AND startsWith(conversation, asked_prefix)
            AND (asked_group = '' OR conversation = asked_group) AND messages.audience > 0
            AND sent_at >= fromUnixTimestamp64Milli(from_ms, 'UTC')
            AND sent_at < fromUnixTimestamp64Milli(until_ms, 'UTC')
        GROUP BY conversation, message, sent_at
    ) AS sent
    LEFT JOIN
    (
        SELECT conversation, message, sent_at, groupArray(delay_ms) AS delays
        FROM
        (
            SELECT receipt.conversation, receipt.message, receipt.sent_at, receipt.delay_ms
            FROM
            (
                SELECT conversation, message, sent_at, reader, delay_ms, sent_position
                FROM
                (
                    SELECT
                        conversation, message, sent_at, reader,
                        greatest(toUnixTimestamp64Milli(at) - toUnixTimestamp64Milli(sent_at), toInt64(0)) AS delay_ms
                    FROM receipts
                    WHERE app = asked_app AND startsWith(conversation, asked_prefix)
                        AND (asked_group = '' OR conversation = asked_group) AND kind = 'read'
                        AND sent_at >= fromUnixTimestamp64Milli(from_ms, 'UTC')
                        AND sent_at < fromUnixTimestamp64Milli(until_ms, 'UTC')
                    LIMIT 1 BY own_epoch, own_partition, own_offset
                ) AS read
                INNER JOIN
                (
                    SELECT conversation, message, sent_at, min(bitNot(version)) AS sent_position
                    FROM messages
                    WHERE app = asked_app AND startsWith(conversation, asked_prefix)
                        AND (asked_group = '' OR conversation = asked_group) AND messages.audience > 0
                        AND sent_at >= fromUnixTimestamp64Milli(from_ms, 'UTC')
                        AND sent_at < fromUnixTimestamp64Milli(until_ms, 'UTC')
                    GROUP BY conversation, message, sent_at
                ) AS place USING (conversation, message, sent_at)
            ) AS receipt
            ASOF INNER JOIN
            (
                SELECT
                    conversation, user, role IS NOT NULL AS is_member,
                    bitOr(bitShiftLeft(toUInt64(epoch), 48), offset) AS position
                FROM roster_changes
                WHERE app = asked_app AND startsWith(conversation, asked_prefix)
                    AND (asked_group = '' OR conversation = asked_group) AND user != ''
            ) AS standing
            ON receipt.conversation = standing.conversation AND receipt.reader = standing.user
                AND receipt.sent_position > standing.position
            WHERE standing.is_member
        )
        GROUP BY conversation, message, sent_at
    ) AS read_by USING (conversation, message, sent_at)
)
GROUP BY start_ms
ORDER BY start_ms
