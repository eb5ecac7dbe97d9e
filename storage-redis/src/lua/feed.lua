#!lua flags=allow-oom
-- Gives events of a partition their places in the one order of all events.
--
-- KEYS[1] is the order, KEYS[2] the last place given, KEYS[3] up to which event each partition has its places.
-- ARGV: the partition; up to which event it had them; up to which it has them now; the events between that are kept.
-- Answers 1, or 0 where somebody else did it meanwhile.

if (redis.call('HGET', KEYS[3], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
local place = tonumber(redis.call('GET', KEYS[2]) or '0')
for n = 4, #ARGV do
  place = place + 1
  redis.call('ZADD', KEYS[1], place, ARGV[1] .. ':' .. ARGV[n])
end
redis.call('SET', KEYS[2], string.format('%.0f', place))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
return 1
