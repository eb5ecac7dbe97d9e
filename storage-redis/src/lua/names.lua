#!lua
-- Reserves a name for a monitor, or gives it back.
--
-- KEYS[1] holds names of one slot. ARGV: what to do, the name, the id, 16 bytes, the version of the record that has or
-- had the name. A reservation is: the id | that version as a double | when it was made, ms as a double.
--   reserve: answers 1, this server's time in ms, and what the reservation replaced; or 0, that time, and the
--            reservation of another monitor.
--   reclaim: the same, where the reservation is still ARGV[5].
--   release: where it is the monitor's, for this version or an older one.

local what, name, id, version = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stored = redis.call('HGET', KEYS[1], name)
if what == 'release' then
  if stored and string.sub(stored, 1, 16) == id and struct.unpack('>d', stored, 17) <= struct.unpack('>d', version) then
    redis.call('HDEL', KEYS[1], name)
  end
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own = not stored or string.sub(stored, 1, 16) == id or (what == 'reclaim' and stored == ARGV[5])
if own then redis.call('HSET', KEYS[1], name, id .. version .. struct.pack('>d', now)) end
return { own and 1 or 0, string.format('%.0f', now), stored or '' }
