-- What a node that joins, or was away, has to know of a tag's bans: a part of the rows, and where to go on.
--
-- KEYS  1 the tag's bans (see ban.lua)
-- ARGV  1 cursor ('0': from the start)
-- Returns { generation or 0, cursor ('0': that was all), { message as on the stream, .. } }
-- Rows that are over are taken out, unbans after a day. About 256 rows a call.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local generation = tonumber(redis.call('HGET', KEYS[1], '#') or 0)
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 256)
local messages = {}
for i = 1, #found[2], 2 do
  local client, row = found[2][i], found[2][i + 1]
  if client ~= '#' then
    local version, until_ms, reason, level = string.match(row, '(%S+) (%S+) (%S+) (%S+)')
    version, until_ms = tonumber(version), tonumber(until_ms)
    local left = until_ms - math.floor(now / 1000)
    if until_ms > 0 and left <= 0 or until_ms == -1 and now - version > 86400000000 then
      redis.call('HDEL', KEYS[1], client)
    else
      local word = until_ms == -1 and 'U' or 'B'
      messages[#messages + 1] = string.format('%s %s %.0f %.0f %.0f %s %s', word, client, generation, version,
        until_ms > 0 and left or 0, reason, level)
    end
  end
end
return { generation, found[1], messages }
