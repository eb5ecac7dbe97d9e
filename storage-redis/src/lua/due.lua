#!lua flags=allow-oom
-- The monitors of a partition that wake before an instant, soonest first.
--
-- KEYS[1] is the key of the partition's lease. ARGV: the instant, ms; how many at most.
-- `due` may have a monitor under an earlier instant than its own, see commit.lua: what is found so is put right first.
-- Answers whether it must be asked again because too much was to put right, and ids and instants in turn.

local base = string.sub(KEYS[1], 1, -6)
local due, state = base .. 'due', base .. 'state'

local function put_right(id, stored, wakes)
  if wakes == 1 / 0 then
    redis.call('ZREM', due, id)
  else
    redis.call('ZADD', due, wakes, id)
  end
  redis.call('HSET', state, id, string.sub(stored, 1, -9) .. string.sub(stored, 21, 28))
end

for _ = 1, 20 do
  local entries = redis.call('ZRANGEBYSCORE', due, '-inf', '(' .. ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
  if #entries == 0 then return { 0, {} } end
  local ids, answer, right = {}, {}, true
  for n = 1, #entries, 2 do ids[#ids + 1] = entries[n] end
  for n, stored in ipairs(redis.call('HMGET', state, unpack(ids))) do
    local wakes = stored and struct.unpack('>d', stored, 21)
    if not stored then
      redis.call('ZREM', due, ids[n])
      right = false
    elseif wakes ~= tonumber(entries[2 * n]) then
      put_right(ids[n], stored, wakes)
      right = false
    end
    answer[2 * n - 1], answer[2 * n] = ids[n], stored and string.sub(stored, 21, 28)
  end
  if right then return { 0, answer } end
end
return { 1, {} }
