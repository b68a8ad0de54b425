-- What was written before the table was there.
INSERT INTO ${database}.message_facts (key, fact, own_epoch, own_partition, epoch, partition, offset, own_offset)
SELECT
    xxHash64(concat(conversation, '\t', message)),
    concatWithSeparator(
        '\t', conversation, message, toString(toUnixTimestamp64Milli(sent_at)), 'message', sender,
        toString(epoch), toString(offset),
        toString(status), toString(validity_ms), toString(reader_cap), ifNull(toString(audience), '')),
    epoch, partition, epoch, partition, offset, own_offset
FROM ${database}.messages
