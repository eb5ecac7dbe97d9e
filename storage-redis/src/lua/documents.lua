#!lua
-- Writes documents, each under its version.
--
-- KEYS[1] is the key of a lane's latest batch; the keys of the kinds begin as it does up to the brace. ARGV: the number of
-- the batch; for each document: its kind, its id, the expected version ('' where it must not exist yet), its new
-- content ('' to remove it). A document is: its version, digits and a blank | JSON.
-- The kinds that were written are told under `news` as commit.lua tells what it writes: d, length, kind.
-- Answers for each 'k', or the version found by a conflict, 0 for none.

local done, base = KEYS[1], string.match(KEYS[1], '^{.-}:')
local before = redis.call('GET', done)
if before then
  before = cmsgpack.unpack(before)
  if before[1] == ARGV[1] then return before[2] end
end
local answer, news = {}, {}
for n = 2, #ARGV, 4 do
  local key, id, expected, body = base .. 'kind:' .. ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3]
  local stored = redis.call('HGET', key, id)
  local found = stored and string.match(stored, '^%d+') or ''
  if found ~= expected then
    answer[#answer + 1] = found == '' and '0' or found
  else
    if body == '' then
      redis.call('HDEL', key, id)
    else
      redis.call('HSET', key, id, string.format('%.0f', (tonumber(found) or 0) + 1) .. ' ' .. body)
    end
    answer[#answer + 1] = 'k'
    news[#news + 1] = 'd' .. struct.pack('>I4', #ARGV[n]) .. ARGV[n]
  end
end
if #news > 0 then
  local number, stream = redis.call('INCR', base .. 'news-last'), base .. 'news'
  if number % 64 == 0 then redis.call('XTRIM', stream, 'MINID', '~', redis.call('TIME')[1] - 20 .. '000') end
  redis.call('XADD', stream, '*', 'n', number, 'w', string.match(done, 'done:([^-]*)'), 'b', table.concat(news))
end
redis.call('SET', done, cmsgpack.pack({ ARGV[1], answer }), 'EX', 600)
return answer
