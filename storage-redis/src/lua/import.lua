#!lua
-- Takes in what another storage kept, of one partition. Writing it twice is as writing it once.
--
-- KEYS[1] is the key of the partition's lease; all others begin as it does. ARGV: epoch; how many monitors have counted hours,
-- and for each its id, how many spans it has, and spans and hours in turn; how many changes of state there are, and for each
-- its number, which is its place in the feed, the monitor, and the change; how many incidents there are, and each as
-- commit.lua takes it.

local base, at = string.sub(KEYS[1], 1, -6), 0
local function argument()
  at = at + 1
  return ARGV[at]
end
if (redis.call('HGET', KEYS[1], 'epoch') or '0') ~= argument() then
  return redis.error_reply('FENCED another node holds the partition')
end

local function is_stored(monitor)
  return redis.call('HEXISTS', base .. 'state', monitor) == 1
end

for _ = 1, tonumber(argument()) do
  local id, spans = argument(), tonumber(argument())
  local fresh, hours = not is_stored(id), base .. 'hours:' .. id
  if fresh then redis.call('DEL', hours) end
  for _ = 1, spans do
    local span, packed = argument(), argument()
    if fresh then redis.call('HSET', hours, span, packed) end
  end
end

local last = tonumber(redis.call('GET', base .. 'events-last') or '0')
for _ = 1, tonumber(argument()) do
  local number, monitor, change = argument(), argument(), argument()
  if is_stored(monitor) and redis.call('HSETNX', base .. 'events', number, change) == 1 then
    redis.call('RPUSH', base .. 'changes:' .. monitor, number)
  end
  last = math.max(last, tonumber(number))
end
if last > 0 then redis.call('SET', base .. 'events-last', string.format('%.0f', last)) end

local function incident_sets(incident)
  local set = base .. (string.sub(incident, 41, 41) == 'o' and 'incidents:open' or 'incidents:closed')
  return { set, set .. ':' .. string.sub(incident, 25, 40) }
end

for _ = 1, tonumber(argument()) do
  local incident = argument()
  local id = string.sub(incident, 9, 24)
  local stored = redis.call('HGET', base .. 'incident', id)
  if stored then
    for _, set in ipairs(incident_sets(stored)) do redis.call('ZREM', set, string.sub(stored, 1, 24)) end
  end
  redis.call('HSET', base .. 'incident', id, incident)
  for _, set in ipairs(incident_sets(incident)) do redis.call('ZADD', set, 0, string.sub(incident, 1, 24)) end
end
return 1
