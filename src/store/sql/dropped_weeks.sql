-- The weeks whose rows were removed on purpose, whichever partition they were of.
SELECT DISTINCT table_name, toInt32(week) AS monday
FROM dropped
WHERE version = 0
