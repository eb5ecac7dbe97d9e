#!lua flags=allow-oom
-- Replaces the oldest heartbeats of a monitor by their counts.
--
-- KEYS[1] is the key of the partition's lease. ARGV: the id; the oldest heartbeat, as it was read; how many are counted;
-- the first span that is kept, and how many there may be; then spans and their hours in turn.
-- Answers 1, or 0 where somebody else did it meanwhile.

local base, id = string.sub(KEYS[1], 1, -6), ARGV[1]
local pings, hours = base .. 'pings:' .. id, base .. 'hours:' .. id
if redis.call('LINDEX', pings, 0) ~= ARGV[2] then return 0 end
redis.call('LTRIM', pings, ARGV[3], -1)
for n = 6, #ARGV, 2 do redis.call('HSET', hours, ARGV[n], ARGV[n + 1]) end
if redis.call('HLEN', hours) > tonumber(ARGV[5]) then
  for _, span in ipairs(redis.call('HKEYS', hours)) do
    if tonumber(span) < tonumber(ARGV[4]) then redis.call('HDEL', hours, span) end
  end
end
return 1
