-- How many receipts an export of all apps has.
SELECT uniqExact(app, conversation, message, sent_at, kind, reader) FROM receipts
