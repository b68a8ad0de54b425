-- When messages were taken back; of several recalls of one the first in log order counts, which has the largest
-- version.
SELECT conversation, message, sent_at, at, version
FROM recalls
WHERE ${of_messages} AND sent_at IN ?
