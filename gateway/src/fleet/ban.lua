-- An operator's ban or a flagrant client's, or its end, told to all nodes. The row outlives its stream message, so that
-- nodes that join learn it; an unban leaves a row too, so that an older ban cannot come back.
--
-- KEYS  1 the tag's bans, a hash: client -> 'version until_ms reason level' (until 0: for ever; -1: unbanned),
--         '#' -> generation, another one after data was lost; 2 the stream
-- ARGV  1 client, 2 'ban', 'keep' (a ban, unless there is a row) or 'unban', 3 length in ms (0: for ever; of an unban its grace), 4 reason,
--       5 level, 6 how long ago that was decided, in microseconds
-- Returns { generation, version, 1 when it is in force, 0 when a later decision stands }
-- A version is Redis's time in microseconds, and above the row's last. The first write needs memory: see push.lua.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HGET', KEYS[1], ARGV[1])
local version = held and tonumber(string.match(held, '^(%S+)')) or 0
local generation = redis.call('HGET', KEYS[1], '#')
if held and (ARGV[2] == 'keep' or version > now - tonumber(ARGV[6])) then
  return { tonumber(generation or 0), version, 0 }
end
if redis.call('HLEN', KEYS[1]) > 65536 then return redis.error_reply('ERR the fleet holds 65536 bans of one tag already') end
if not generation then
  redis.call('HSET', KEYS[1], '#', string.format('%.0f', now))
  generation = now
end
version = math.max(now, version + 1)
local until_ms = -1
if ARGV[2] ~= 'unban' then
  local length = tonumber(ARGV[3])
  until_ms = length == 0 and 0 or math.floor(now / 1000) + length
end
local row = string.format('%.0f %.0f %s %s', version, until_ms, ARGV[4], ARGV[5])
redis.call('HSET', KEYS[1], ARGV[1], row)
local word = until_ms == -1 and 'U' or 'B'
local left = until_ms == 0 and 0 or tonumber(ARGV[3])
local message = string.format('%s %s %.0f %.0f %.0f %s %s', word, ARGV[1], generation, version, left, ARGV[4], ARGV[5])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 4096, '*', 'm', message)
return { tonumber(generation), version, 1 }
