-- As of messages.
INSERT INTO ${database}.message_facts (key, fact, own_epoch, own_partition, epoch, partition, offset, own_offset)
SELECT
    xxHash64(concat(conversation, '\t', message)),
    concatWithSeparator(
        '\t', conversation, message, toString(toUnixTimestamp64Milli(sent_at)), 'recall', '',
        toString(epoch), toString(offset),
        toString(toUnixTimestamp64Milli(at))),
    own_epoch, own_partition, epoch, partition, offset, own_offset
FROM ${database}.recalls
