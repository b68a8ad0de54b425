-- When messages of an app were taken back; of several recalls of one the first in log order counts, which has the largest
-- version.
SELECT conversation, message, sent_at, at, version
FROM recalls
WHERE app = ? AND (conversation, message) IN ? AND toMonday(sent_at) IN ?
