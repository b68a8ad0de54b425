-- Facts about messages of weeks before one, which is named by its Monday.
ALTER TABLE message_facts DELETE
WHERE toMonday(fromUnixTimestamp64Milli(toInt64(splitByChar('\t', fact)[3]), 'UTC')) < toDate(parseDateTime(?, '%Y%m%d', 'UTC')) SETTINGS mutations_sync = 0
