#!lua
-- Writes one batch of one partition. Each transition is written with all that goes with it, or nothing of it is.
--
-- KEYS[1] is the key of the partition's lease; all others begin as it does, and lie in its slot.
-- ARGV: epoch, lane, number of the batch, how many heartbeats, changes, incidents of a monitor, closed incidents and
-- settled notifications are kept, until when wishes are taken (ms, by this server's clock), how many transitions there
-- are, each transition, how many notifications, each of them, how many settlements, each of them.
--
-- A transition is: its head ('C' for a monitor that must not exist yet, 'P' for a new record, 'R' for a removal; the id,
-- 16 bytes; the expected version, 8 bytes; how long the new state is, 4 bytes), the new state, how many parts go with it, and these, each behind a letter:
--   w wish | p heartbeat | c change of state | i incident | n notification
-- A state is: version, 8 bytes | revision of the wish, 8 bytes | when it wakes, ms as a double, 8 bytes | what is not
-- looked at here. As it is kept, there is one more double before the rest: under which instant `due` has the monitor,
-- which is at or before the one at which it wakes, so that a heartbeat need not touch `due`.
--
-- What is committed is told under `news`, one entry for a call: `n` its number, `w` who wrote it, `b` what it was, each part
-- behind a letter; numbers and lengths (4 bytes) are big-endian:
--   C, P, R the head of the transition | the state as it was given
--   w, c    length | the wish of the monitor before, or a change of state
--   n       the id of a notification that came to be owed or is to be tried again, 16 bytes
-- Those who read it find by the number whether something is missing.
--
-- Answers a letter for each transition (k written, c conflict, w its wish is wanted, l too late for its wish), the
-- versions that conflicts found (8 bytes each; 0 for none), and the ids of monitors whose heartbeats should be folded.

local base = string.sub(KEYS[1], 1, -6)
local at = 0
local function argument()
  at = at + 1
  return ARGV[at]
end

local epoch, lane, batch = argument(), argument(), argument()
local done = base .. 'done:' .. lane
local before = redis.call('GET', done)
if before then
  before = cmsgpack.unpack(before)
  if before[1] == batch then return before[2] end
  -- Its sender gave it up, and has written later ones since.
  if tonumber(before[1]) > tonumber(batch) then return redis.error_reply('LATE a later batch is written') end
end
if (redis.call('HGET', KEYS[1], 'epoch') or '0') ~= epoch then
  return redis.error_reply('FENCED another node holds the partition')
end

local pings_kept, changes_kept, incidents_kept, closed_kept, settled_kept =
  tonumber(argument()), tonumber(argument()), tonumber(argument()), tonumber(argument()), tonumber(argument())
-- So many heartbeats are folded at once.
local PORTION = 32
local NOBODY, NEVER = string.rep('\0', 8), struct.pack('>d', 1 / 0)

local in_time
local function is_in_time(until_ms)
  if in_time == nil then
    local time = redis.call('TIME')
    in_time = time[1] * 1000 + time[2] / 1000 < until_ms
  end
  return in_time
end

-- Reads a counter once, and writes it once.
local counters = {}
local function count_on(name, least)
  local last = counters[name] or tonumber(redis.call('GET', base .. name) or '0')
  counters[name] = math.max(last + 1, least)
  return counters[name]
end

local function put_change(monitor, json)
  local number, list = count_on('events-last', 0), base .. 'changes:' .. monitor
  redis.call('HSET', base .. 'events', number, json)
  if redis.call('RPUSH', list, number) > changes_kept then
    redis.call('HDEL', base .. 'events', redis.call('LPOP', list))
  end
end

-- An incident is: its place (when it opened, and its id; 24 bytes), its monitor, 16 bytes, 'o' or 'c', JSON.
local function incident_sets(incident)
  local set = base .. (string.sub(incident, 41, 41) == 'o' and 'incidents:open' or 'incidents:closed')
  return set, set .. ':' .. string.sub(incident, 25, 40)
end

local function forget_incident(incident)
  local place = string.sub(incident, 1, 24)
  for _, set in ipairs({ incident_sets(incident) }) do redis.call('ZREM', set, place) end
  redis.call('HDEL', base .. 'incident', string.sub(place, 9))
end

local function put_incident(incident)
  local place = string.sub(incident, 1, 24)
  local stored = redis.call('HGET', base .. 'incident', string.sub(place, 9))
  if stored then forget_incident(stored) end
  redis.call('HSET', base .. 'incident', string.sub(place, 9), incident)
  local of_all, of_monitor = incident_sets(incident)
  for set, kept in pairs({ [of_all] = closed_kept, [of_monitor] = incidents_kept }) do
    redis.call('ZADD', set, 0, place)
    if string.sub(incident, 41, 41) == 'c' and redis.call('ZCARD', set) > kept then
      local oldest = redis.call('ZRANGE', set, 0, 0)[1]
      forget_incident(redis.call('HGET', base .. 'incident', string.sub(oldest, 9)))
    end
  end
end

local news, news_count = {}, 0
local function tell(part)
  news_count = news_count + 1
  news[news_count] = part
end

local function tell_text(letter, text)
  tell(letter .. struct.pack('>I4', #text) .. text)
end

-- A notification is: its id, when it came to be owed, ms as a double, JSON.
local function owe(notification)
  local id, created_at = string.sub(notification, 1, 16), struct.unpack('>d', notification, 17)
  if redis.call('HEXISTS', base .. 'notification', id) == 1 then return end
  -- Places of all partitions are alike in size, so that they can be listed together.
  local seq = count_on('seq', math.floor(created_at * 8))
  redis.call('HSET', base .. 'notification', id, struct.pack('>d', seq) .. string.sub(notification, 25))
  redis.call('ZADD', base .. 'outbox', seq, id)
  tell('n' .. id)
end

-- A settlement is: the notification's id, 'p' where it is still owed or another letter, JSON.
local function settle(settlement)
  local id = string.sub(settlement, 1, 16)
  local stored = redis.call('HGET', base .. 'notification', id)
  if not stored then return end
  local from, to = 'outbox', 'settled'
  if string.sub(settlement, 17, 17) == 'p' then
    from, to = to, from
    tell('n' .. id)
  end
  redis.call('HSET', base .. 'delivery', id, string.sub(settlement, 17))
  redis.call('ZREM', base .. from, id)
  redis.call('ZADD', base .. to, struct.unpack('>d', stored), id)
  if redis.call('ZCARD', base .. 'settled') > settled_kept then
    local oldest = redis.call('ZPOPMIN', base .. 'settled')[1]
    redis.call('HDEL', base .. 'notification', oldest)
    redis.call('HDEL', base .. 'delivery', oldest)
  end
end

local function remove(id)
  for _, hash in ipairs({ 'state', 'wish' }) do redis.call('HDEL', base .. hash, id) end
  for _, set in ipairs({ 'ids', 'due' }) do redis.call('ZREM', base .. set, id) end
  for _, number in ipairs(redis.call('LRANGE', base .. 'changes:' .. id, 0, -1)) do
    redis.call('HDEL', base .. 'events', number)
  end
  redis.call('DEL', base .. 'changes:' .. id, base .. 'pings:' .. id, base .. 'hours:' .. id)
end

local written, written_count = {}, 0
local function write_states()
  if written_count > 0 then redis.call('HSET', base .. 'state', unpack(written, 1, written_count)) end
  written_count = 0
end

-- Keeps the state for `write_states`.
local function put_state(id, state, stored)
  local queued = stored and string.sub(stored, 25, 32) or NEVER
  local wakes = string.sub(state, 17, 24)
  if wakes ~= queued and struct.unpack('>d', wakes) < struct.unpack('>d', queued) then
    redis.call('ZADD', base .. 'due', struct.unpack('>d', wakes), id)
    queued = wakes
  end
  if not stored then redis.call('ZADD', base .. 'ids', 0, id) end
  if written_count > 4000 then write_states() end
  written[written_count + 1] = id
  written[written_count + 2] = string.sub(state, 1, 24) .. queued .. string.sub(state, 25)
  written_count = written_count + 2
end

local found, long = {}, {}
local function put_part(id, part)
  local letter, rest = string.sub(part, 1, 1), string.sub(part, 2)
  if letter == 'p' then
    local more = redis.call('RPUSH', base .. 'pings:' .. id, rest) - pings_kept
    if more > 0 and more % PORTION == 0 then long[#long + 1] = id end
  elseif letter == 'w' then
    redis.call('HSET', base .. 'wish', id, rest)
    tell_text(letter, rest)
  elseif letter == 'c' then
    put_change(id, rest)
    tell_text(letter, rest)
  elseif letter == 'i' then
    put_incident(rest)
  elseif letter == 'n' then
    owe(rest)
  end
end

-- What keeps a transition from being written; nil when nothing does.
local function obstacle(head, state, stored, wish, wishes_until)
  local version = stored and string.sub(stored, 1, 8)
  local kind = string.sub(head, 1, 1)
  local as_expected = version == string.sub(head, 18, 25)
  if kind == 'C' then as_expected = not version end
  if not as_expected then
    found[#found + 1] = version or NOBODY
    return 'c'
  end
  if kind == 'R' then return nil end
  if wish then return not is_in_time(wishes_until) and 'l' or nil end
  return string.sub(stored or '', 9, 16) ~= string.sub(state, 9, 16) and 'w' or nil
end

local function transition(index, stored, wishes_until)
  local head, state, parts = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2])
  local id = string.sub(head, 2, 17)
  local first = index + 3
  local wish = parts > 0 and string.sub(ARGV[first], 1, 1) == 'w'
  local why = obstacle(head, state, stored, wish, wishes_until)
  if why then return why end
  if string.sub(head, 1, 1) ~= 'R' then
    put_state(id, state, stored)
  elseif stored then
    remove(id)
  end
  news[news_count + 1], news[news_count + 2] = head, state
  news_count = news_count + 2
  for part = first, first + parts - 1 do put_part(id, ARGV[part]) end
  return 'k'
end

local wishes_until, count = tonumber(argument()), tonumber(argument())
local places, ids, states = {}, {}, {}
for n = 1, count do
  places[n], ids[n] = at + 1, string.sub(ARGV[at + 1], 2, 17)
  at = at + 3 + tonumber(ARGV[at + 3])
end
for first = 1, count, 4000 do
  local last = math.min(first + 3999, count)
  local portion = redis.call('HMGET', base .. 'state', unpack(ids, first, last))
  for n = first, last do states[n] = portion[n - first + 1] end
end
local outcomes = {}
for n = 1, count do outcomes[n] = transition(places[n], states[n], wishes_until) end
write_states()
for _ = 1, tonumber(argument()) do owe(argument()) end
for _ = 1, tonumber(argument()) do settle(argument()) end
if news_count > 0 then
  local number, stream = redis.call('INCR', base .. 'news-last'), base .. 'news'
  -- What is older than 20 s is forgotten, but not looked for each time.
  if number % 64 == 0 then redis.call('XTRIM', stream, 'MINID', '~', redis.call('TIME')[1] - 20 .. '000') end
  redis.call('XADD', stream, '*', 'n', number, 'w', string.match(lane, '^[^-]*'), 'b', table.concat(news))
end
for name, last in pairs(counters) do redis.call('SET', base .. name, string.format('%.0f', last)) end

local answer = { table.concat(outcomes), table.concat(found), table.concat(long) }
redis.call('SET', done, cmsgpack.pack({ batch, answer }), 'EX', 600)
return answer
