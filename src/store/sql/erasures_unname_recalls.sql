-- Recalls of other people's messages stay, without his name: the message is taken back whoever did it.
INSERT INTO recalls
    (app, conversation, message, sent_at, erasures, recalled_by, at, recall_id,
     epoch, partition, offset, own_epoch, own_partition, own_offset, record_time)
SELECT
    app, conversation, message, sent_at, erasures, '', at, recall_id,
    epoch, partition, offset, own_epoch, own_partition, own_offset, record_time
FROM recalls
WHERE app = {app:String} AND recalled_by = {user:String} AND startsWith(conversation, concat({app:String}, '/g/')) AND
