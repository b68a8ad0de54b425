-- As `single_marks.sql`, of all times, but no more than so many.
SELECT conversation, reader, at, epoch, offset
FROM marks
WHERE app = ? AND conversation IN ?
LIMIT ?
