#!lua
-- Writes batches of several partitions, one of each. Each transition is written with all that goes with it, or nothing of it is.
--
-- KEYS are the keys of the partitions' leases; all others of a partition begin as that does, and lie in its slot.
-- ARGV: lane, number of the call; how many changes and incidents of a monitor, closed incidents and settled notifications
-- are kept; then for each key its batch: epoch, how many arguments follow, until when wishes are taken (ms, by
-- this server's clock), how many plain heartbeats there are, of how many the last are to be put into the list, how many other
-- transitions there are, each of them, how many notifications, each of them, how many settlements, each of them, the plain
-- heartbeats.
--
-- A state is: version, 8 bytes | revision of the wish, 8 bytes | how long the rest is, 4 bytes | when the monitor wakes, ms as a
-- double, 8 bytes | what is not looked at here.
-- As it is kept, two more follow: the latest heartbeats, newest first, that are not in the monitor's list yet, and a double:
-- under which instant `due` has the monitor, which is at or before the one at which it wakes, so that a heartbeat need not
-- touch `due`. A list has one element for several heartbeats, newest first: so most touch no list either.
--
-- A plain heartbeat is a new record that exists, with one heartbeat and nothing else: the id, 16 bytes; the expected version, 8
-- bytes; how long the rest is, 4 bytes; the new state; the heartbeat.
-- Another transition is: its head ('C' for a monitor that must not exist yet, 'P' for a new record, 'R' for a removal; the id,
-- 16 bytes; the expected version, 8 bytes; how long the new state is, 4 bytes), the new state, how many parts go with it, and
-- these, each behind a letter:
--   w wish | p heartbeat | c change of state | i incident | n notification
--
-- What is committed is told under `news`, one entry for a batch: `n` its number, `w` who wrote it, `h` the plain heartbeats if
-- there are any, `b` what else it was, each part behind a letter; numbers and lengths (4 bytes) are big-endian:
--   C, P, R the head of the transition | the state as it was given
--   w, c    length | the wish of the monitor before, or a change of state
--   n       the id of a notification that came to be owed or is to be tried again, 16 bytes
-- Those who read it find by the number whether something is missing.
--
-- Answers for each key: a letter for each plain heartbeat and for each transition (k written, c conflict, w its wish is wanted,
-- l too late for its wish), and the versions that conflicts found (8 bytes each; 0 for none); or an error alone.

-- Most calls have plain heartbeats alone, and each call makes its functions anew, so what only others need is made for them.

local call, sub, read = redis.call, string.sub, struct.unpack
local lane, number = ARGV[1], ARGV[2]
local done = sub(KEYS[1], 1, -6) .. 'done:' .. lane
local before = call('GET', done)
if before then
  before = cmsgpack.unpack(before)
  if before[1] == number then return before[2] end
  -- Its sender gave it up, and has written later ones since.
  if tonumber(before[1]) > tonumber(number) then return redis.error_reply('LATE a later batch is written') end
end
local writer = string.match(lane, '^[^-]*')

-- More values than these must not lie on the stack at once.
local PORTION = 2000
local NOBODY = '\0\0\0\0\0\0\0\0'

-- The states of monitors, in the order of the ids.
local function read_states(base, ids)
  local states = call('HMGET', base .. 'state', unpack(ids, 1, math.min(#ids, PORTION)))
  for first = PORTION + 1, #ids, PORTION do
    local portion = call('HMGET', base .. 'state', unpack(ids, first, math.min(first + PORTION - 1, #ids)))
    for n = 1, #portion do states[first + n - 1] = portion[n] end
  end
  return states
end

-- Writes ids and what is stored of them, in turn.
local function write_states(base, written)
  for first = 1, #written, 2 * PORTION do
    call('HSET', base .. 'state', unpack(written, first, math.min(first + 2 * PORTION - 1, #written)))
  end
end

-- Under which instant `due` has the monitor, if it is to wake at `wakes`.
local function queue(base, id, wakes, queued)
  if read('>d', wakes) >= read('>d', queued) then return queued end
  call('ZADD', base .. 'due', read('>d', wakes), id)
  return wakes
end

-- Writes plain heartbeats, of which the last `listed` go into the lists. Gives their letters, and those that are written.
local function put_plain(base, told, count, listed, found)
  local ids, expected, from, to, place, length = {}, {}, {}, {}, 1, 0
  for n = 1, count do
    ids[n], expected[n], length, place = read('>c16c8I4', told, place)
    from[n], to[n] = place, place + length - 1
    place = place + length
  end
  local states, written, refused = read_states(base, ids), {}, nil
  for n = 1, count do
    local id, stored, new = ids[n], states[n], sub(told, from[n], to[n])
    if not stored or sub(stored, 1, 8) ~= expected[n] then
      found[#found + 1] = stored and sub(stored, 1, 8) or NOBODY
      refused = refused or {}
      refused[n] = 'c'
    elseif sub(stored, 9, 16) ~= sub(new, 9, 16) then
      refused = refused or {}
      refused[n] = 'w'
    else
      local behind = 21 + read('>I4', stored, 17)
      local kept
      if n <= count - listed and read('>d', new, 21) >= read('>d', stored, #stored - 7) then
        kept = new .. sub(stored, behind)
      else
        local heartbeat = 21 + read('>I4', new, 17)
        local kept_under = queue(base, id, sub(new, 21, 28), sub(stored, -8))
        if n > count - listed then
          call('RPUSH', base .. 'pings:' .. id, sub(new, heartbeat) .. sub(stored, behind, -9))
          kept = sub(new, 1, heartbeat - 1) .. kept_under
        else
          kept = new .. sub(stored, behind, -9) .. kept_under
        end
      end
      written[#written + 1], written[#written + 2] = id, kept
    end
  end
  write_states(base, written)
  if not refused then return string.rep('k', count), told end
  local letters, kept = {}, {}
  for n = 1, count do
    letters[n] = refused[n] or 'k'
    if not refused[n] then kept[#kept + 1] = sub(told, from[n] - 28, to[n]) end
  end
  return table.concat(letters), table.concat(kept)
end

-- Writes what else a batch has, whose arguments begin behind `at`. Gives letters of its transitions, and news of it.
local function put_others(base, at, wishes_until, found)
  local pack = struct.pack
  local changes_kept, incidents_kept, closed_kept, settled_kept =
    tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local NEVER = pack('>d', 1 / 0)
  local counters, news, written = {}, {}, {}
  local function argument()
    at = at + 1
    return ARGV[at]
  end

  local now
  local function is_in_time()
    if not now then
      local time = call('TIME')
      now = time[1] * 1000 + time[2] / 1000
    end
    return now < wishes_until
  end

  -- Reads a counter once, and writes it once.
  local function count_on(name, least)
    local last = counters[name] or tonumber(call('GET', base .. name) or '0')
    counters[name] = math.max(last + 1, least)
    return counters[name]
  end

  local function put_change(monitor, json)
    local number, list = count_on('events-last', 0), base .. 'changes:' .. monitor
    call('HSET', base .. 'events', number, json)
    if call('RPUSH', list, number) > changes_kept then
      call('HDEL', base .. 'events', call('LPOP', list))
    end
  end

  -- An incident is: its place (when it opened, and its id; 24 bytes), its monitor, 16 bytes, 'o' or 'c', JSON.
  local function incident_sets(incident)
    local set = base .. (sub(incident, 41, 41) == 'o' and 'incidents:open' or 'incidents:closed')
    return set, set .. ':' .. sub(incident, 25, 40)
  end

  local function forget_incident(incident)
    local place = sub(incident, 1, 24)
    for _, set in ipairs({ incident_sets(incident) }) do call('ZREM', set, place) end
    call('HDEL', base .. 'incident', sub(place, 9))
  end

  local function put_incident(incident)
    local place = sub(incident, 1, 24)
    local stored = call('HGET', base .. 'incident', sub(place, 9))
    if stored then forget_incident(stored) end
    call('HSET', base .. 'incident', sub(place, 9), incident)
    local of_all, of_monitor = incident_sets(incident)
    for set, kept in pairs({ [of_all] = closed_kept, [of_monitor] = incidents_kept }) do
      call('ZADD', set, 0, place)
      if sub(incident, 41, 41) == 'c' and call('ZCARD', set) > kept then
        local oldest = call('ZRANGE', set, 0, 0)[1]
        forget_incident(call('HGET', base .. 'incident', sub(oldest, 9)))
      end
    end
  end

  local function tell(part) news[#news + 1] = part end

  local function tell_text(letter, text)
    tell(letter .. pack('>I4', #text) .. text)
  end

  -- A notification is: its id, when it came to be owed, ms as a double, JSON.
  local function owe(notification)
    local id, created_at = sub(notification, 1, 16), read('>d', notification, 17)
    if call('HEXISTS', base .. 'notification', id) == 1 then return end
    -- Places of all partitions are alike in size, so that they can be listed together.
    local seq = count_on('seq', math.floor(created_at * 8))
    call('HSET', base .. 'notification', id, pack('>d', seq) .. sub(notification, 25))
    call('ZADD', base .. 'outbox', seq, id)
    tell('n' .. id)
  end

  -- A settlement is: the notification's id, 'p' where it is still owed or another letter, JSON.
  local function settle(settlement)
    local id = sub(settlement, 1, 16)
    local stored = call('HGET', base .. 'notification', id)
    if not stored then return end
    local from, to = 'outbox', 'settled'
    if sub(settlement, 17, 17) == 'p' then
      from, to = to, from
      tell('n' .. id)
    end
    call('HSET', base .. 'delivery', id, sub(settlement, 17))
    call('ZREM', base .. from, id)
    call('ZADD', base .. to, read('>d', stored), id)
    if call('ZCARD', base .. 'settled') > settled_kept then
      local oldest = call('ZPOPMIN', base .. 'settled')[1]
      call('HDEL', base .. 'notification', oldest)
      call('HDEL', base .. 'delivery', oldest)
    end
  end

  local function remove(id)
    for _, hash in ipairs({ 'state', 'wish' }) do call('HDEL', base .. hash, id) end
    for _, set in ipairs({ 'ids', 'due' }) do call('ZREM', base .. set, id) end
    for _, number in ipairs(call('LRANGE', base .. 'changes:' .. id, 0, -1)) do
      call('HDEL', base .. 'events', number)
    end
    call('DEL', base .. 'changes:' .. id, base .. 'pings:' .. id, base .. 'hours:' .. id)
  end

  local function put_part(id, part)
    local letter, rest = sub(part, 1, 1), sub(part, 2)
    if letter == 'p' then
      call('RPUSH', base .. 'pings:' .. id, rest)
    elseif letter == 'w' then
      call('HSET', base .. 'wish', id, rest)
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
  local function obstacle(head, state, stored, with_wish)
    local kind, why = sub(head, 1, 1), 'w'
    if kind ~= 'C' then
      if not stored or sub(stored, 1, 8) ~= sub(head, 18, 25) then
        found[#found + 1] = stored and sub(stored, 1, 8) or NOBODY
        why = 'c'
      elseif sub(stored, 9, 16) == sub(state, 9, 16) then
        why = nil
      end
    elseif stored then
      found[#found + 1] = sub(stored, 1, 8)
      why = 'c'
    end
    if why == 'c' then return why end
    if kind == 'R' then return nil end
    if with_wish then return not is_in_time() and 'l' or nil end
    return why
  end

  -- Writes the transition whose head is this argument; its letter.
  local function put_transition(index, stored)
    local head, state, parts = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2])
    local id, first, last = sub(head, 2, 17), index + 3, index + 2 + parts
    local with_wish = parts > 0 and sub(ARGV[first], 1, 1) == 'w'
    local why = obstacle(head, state, stored, with_wish)
    if why then return why end
    if sub(head, 1, 1) == 'R' then
      remove(id)
    else
      local kept = stored and sub(stored, 21 + read('>I4', stored, 17), -9) or ''
      local heard = false
      for part = first, last do heard = heard or sub(ARGV[part], 1, 1) == 'p' end
      if heard and kept ~= '' then
        call('RPUSH', base .. 'pings:' .. id, kept)
        kept = ''
      end
      if not stored then call('ZADD', base .. 'ids', 0, id) end
      local kept_under = queue(base, id, sub(state, 21, 28), stored and sub(stored, -8) or NEVER)
      written[#written + 1], written[#written + 2] = id, state .. kept .. kept_under
    end
    tell(head .. state)
    for part = first, last do put_part(id, ARGV[part]) end
    return 'k'
  end

  local letters, places, ids = {}, {}, {}
  for n = 1, tonumber(argument()) do
    places[n], ids[n] = at + 1, sub(ARGV[at + 1], 2, 17)
    at = at + 3 + tonumber(ARGV[at + 3])
  end
  if #ids > 0 then
    local states = read_states(base, ids)
    for n, place in ipairs(places) do letters[n] = put_transition(place, states[n]) end
    write_states(base, written)
  end
  for _ = 1, tonumber(argument()) do owe(argument()) end
  for _ = 1, tonumber(argument()) do settle(argument()) end
  for name, last in pairs(counters) do call('SET', base .. name, string.format('%.0f', last)) end
  return table.concat(letters), table.concat(news)
end

-- Writes the batch whose `length` arguments begin behind `at`.
local function commit(lease, at, length)
  local base, found = sub(lease, 1, -6), {}
  local letters, plain, others, news = '', '', '', ''
  local count = tonumber(ARGV[at + 2])
  if count > 0 then letters, plain = put_plain(base, ARGV[at + length], count, tonumber(ARGV[at + 3]), found) end
  -- One that has nothing else has seven.
  if length > 7 then others, news = put_others(base, at + 3, tonumber(ARGV[at + 1]), found) end
  if plain ~= '' or news ~= '' then
    local entry, stream = call('INCR', base .. 'news-last'), base .. 'news'
    -- What is older than 20 s is forgotten, but not looked for each time.
    if entry % 64 == 0 then call('XTRIM', stream, 'MINID', '~', call('TIME')[1] - 20 .. '000') end
    if plain == '' then
      call('XADD', stream, '*', 'n', entry, 'w', writer, 'b', news)
    else
      call('XADD', stream, '*', 'n', entry, 'w', writer, 'b', news, 'h', plain)
    end
  end
  return { letters .. others, table.concat(found) }
end

local answers, at = {}, 6
for n, lease in ipairs(KEYS) do
  local epoch, length = ARGV[at + 1], tonumber(ARGV[at + 2])
  if (call('HGET', lease, 'epoch') or '0') ~= epoch then
    answers[n] = { 'FENCED' }
  else
    -- What is damaged in one partition is no matter of the others.
    local is_written, answer = pcall(commit, lease, at + 2, length)
    answers[n] = is_written and answer or { type(answer) == 'table' and answer.err or tostring(answer) }
  end
  at = at + 2 + length
end
call('SET', done, cmsgpack.pack({ number, answers }), 'EX', 600)
return answers
