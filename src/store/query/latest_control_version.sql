-- The greatest version of a control record that any partition has met, of whatever app.
SELECT max(version) FROM policies
