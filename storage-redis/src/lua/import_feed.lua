#!lua
-- Gives events of a partition the places in the one order of all events that they had in another storage.
--
-- KEYS are those of feed.lua. ARGV: the partition; the events, whose numbers are their places.

local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local up_to = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
for n = 2, #ARGV do
  local place = tonumber(ARGV[n])
  redis.call('ZADD', KEYS[1], ARGV[n], ARGV[1] .. ':' .. ARGV[n])
  last, up_to = math.max(last, place), math.max(up_to, place)
end
redis.call('SET', KEYS[2], string.format('%.0f', last))
redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f', up_to))
return 1
