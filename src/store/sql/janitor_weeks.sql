-- Weeks of a table that lie behind a Monday as a whole.
SELECT DISTINCT _partition_id AS week FROM ? WHERE _partition_id < ? ORDER BY week
