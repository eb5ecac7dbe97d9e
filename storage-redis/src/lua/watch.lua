#!lua
-- Writes the watcher's mark of life, and what it forgets and learns of outages.
--
-- KEYS[1] is the mark, KEYS[2] the outages, which are in order of their end: to and from, 8 bytes each.
-- ARGV, each of them '' for none: the mark; forget those that ended before; those that end at this or later; an outage.

if ARGV[1] ~= '' then redis.call('SET', KEYS[1], ARGV[1]) end
if ARGV[2] ~= '' then redis.call('ZREMRANGEBYLEX', KEYS[2], '-', '(' .. ARGV[2]) end
if ARGV[3] ~= '' then redis.call('ZREMRANGEBYLEX', KEYS[2], '[' .. ARGV[3], '+') end
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[2], 0, ARGV[4]) end
return 1
