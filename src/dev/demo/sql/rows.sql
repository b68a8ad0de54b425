-- Rows beside the ledger's sums: facts counted once, however often they were written.
SELECT
    assumeNotNull((SELECT uniqExact(app, conversation, message, sent_at) FROM messages)) AS messages,
    assumeNotNull((SELECT uniqExact(app, conversation, message, sent_at, kind, reader) FROM receipts)) AS receipts,
    assumeNotNull((SELECT uniqExact(app, conversation, message, sent_at) FROM recalls)) AS recalls,
    -- Of a whole roster its head: how many users it changed is in no sum.
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM roster_changes WHERE change != 'by_roster')) AS roster_changes,
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM policies)) AS policies,
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM marks)) AS marks,
    assumeNotNull((SELECT uniqExact(partition, offset, own_offset) FROM rejections)) AS rejections,
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM parked)) AS parked,
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM settlements)) AS settlements,
    -- A mark in a conversation with oneself tells nobody.
    assumeNotNull((SELECT uniqExact(partition, own_offset) FROM marks
                   WHERE chat = 'single' AND arrayUniq(arraySlice(splitByChar('/', conversation), -2)) = 2)) AS single_marks
