#!lua
-- Takes in documents under their versions.
--
-- KEYS[1] is a key of the documents; the keys of the kinds begin as it does up to the brace. ARGV: for each document its
-- kind, its id, and what is kept: its version, digits and a blank | JSON.

local base = string.match(KEYS[1], '^{.-}:')
for n = 1, #ARGV, 3 do redis.call('HSET', base .. 'kind:' .. ARGV[n], ARGV[n + 1], ARGV[n + 2]) end
return 1
