-- A node tells what it admitted for the clients of one hash tag, and hears what the fleet knows of them and what is
-- new on the tag's stream. One call is atomic: nobody sees half a batch. A batch whose number was seen is answered and
-- not counted again. Times are microseconds of Redis's own clock, and only durations leave it.
--
-- KEYS  1 the node's last batch, 2 the stream, 3 the nodes; then a hash a client:
--         r  theoretical arrival time of the fleet's bucket
--         s  second, offered in the one before, offered in this one, last sentence, over threefold since, samples, since
--         n:<node>  second, offered in the one before, offered in this one: by this node; admitted by it in all
-- ARGV  1 node, 2 number of the batch (0: nothing to count), 3 stream id read last ('': from now on), 4 nodes known,
--       5 '1': the node is alive, 6 when it should come here by this clock and the last call's way ('': not known);
--       then seven a client: interval, tau, admitted, age of the first of them, offered,
--         samples, '1': may be banned
-- Returns { now, nodes alive or 0, stream id, { ahead, offered a second, share in ppm, '1' flagrant } a client, flat,
--           { age, message } on the stream, flat }
-- Cost: at most 256 clients a call, three commands each, and 64 messages. The first write decides whether a full Redis
-- refuses (it does, and then nothing was written), so it is one that needs memory.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local node, number, last, known = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local second, told, nodes = math.floor(now / 1000000), {}, 0
local seen = false
-- What a hung server or a slow network kept is as much older. A clock that was set costs one round.
local kept = math.max(0, math.min(60000000, now - tonumber(ARGV[6] ~= '' and ARGV[6] or now)))
if number > 0 then
  seen = tonumber(redis.call('GET', KEYS[1]) or 0) >= number
  redis.call('SET', KEYS[1], ARGV[2], 'PX', 600000)
end
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[3], now, node)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - 10000000)
  redis.call('PEXPIRE', KEYS[3], 20000)
  nodes = redis.call('ZCARD', KEYS[3])
end
for i = 4, #KEYS do
  local key, at = KEYS[i], 7 * (i - 4) + 6
  local interval, tau = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local admitted, age = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local offered, samples = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  if seen then admitted, offered, samples = 0, 0, 0 end
  if admitted > 0 then age = age + kept end
  local held = redis.call('HMGET', key, 'r', 's', 'n:' .. node)
  local r = tonumber(held[1] or 0)
  local e, p, c, said, since, w, ws = 0, 0, 0, 0, 0, 0, 0
  if held[2] then
    e, p, c, said, since, w, ws = string.match(held[2], '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    e, p, c, said, since = tonumber(e), tonumber(p), tonumber(c), tonumber(said), tonumber(since)
    w, ws = tonumber(w), tonumber(ws)
  end
  local ne, np, nc, all = 0, 0, 0, 0
  if held[3] then
    ne, np, nc, all = string.match(held[3], '(%S+) (%S+) (%S+) (%S+)')
    ne, np, nc, all = tonumber(ne), tonumber(np), tonumber(nc), tonumber(all)
  end
  -- What is older than `late` is charged only where it went over the limit by itself: its age alone protects nobody,
  -- because any prompt push has moved r to now. The first is as old as it is, the rest lie evenly behind it. Then nobody charges more than a burst and the time it was late.
  local late = math.min(1000000, math.max(300000, tau / 2))
  local charge, over = admitted * interval, math.max(0, age - late)
  if over > 0 and admitted > 0 then
    local old = interval * (1 + (admitted - 1) * over / age)
    charge = charge - old + math.max(0, old - over)
  end
  charge = math.min(charge, tau + math.min(age, late))
  -- Debt is remembered for as long as it takes until every node of a wide fleet could have admitted one, within bounds.
  local debt = math.max(10000000, math.min(60000000, known * interval))
  r = math.min(math.max(r, now - age) + charge, now + tau + debt)
  if second ~= e then
    if second ~= e + 1 then c, since = 0, 0 end
    p, c = c, 0
    -- Nodes that are gone leave their counts: a client that is never quiet begins anew some day.
    if redis.call('HLEN', key) > 2000 then redis.call('DEL', key) end
  end
  if second ~= ne then
    if second ~= ne + 1 then nc = 0 end
    np, nc = nc, 0
  end
  c, nc, all = c + offered, nc + offered, all + admitted
  local ahead, rate, share, flagrant = r - now, math.max(p, c), 0, 0
  if p + c > 0 then share = math.floor(1000000 * (np + nc) / (p + c)) end
  if rate * interval >= 3000000 then
    if since == 0 then
      since = now
    elseif now - since >= 2000000 and ARGV[at + 7] == '1' then
      since, flagrant = now, 1
    end
  else
    since = 0
  end
  local name = string.match(key, '}:(.+)$')
  local what = string.format(' %s %.0f %d %.3f %.0f', name, ahead, rate, interval, tau)
  if samples > 0 then
    if second - ws > 10 then w, ws = 0, second end
    w = w + samples
    if w >= 8 then
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', 4096, '*', 'm', 'W' .. what)
      w = 0
    end
  end
  if ahead > tau and now - said >= 100000 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 4096, '*', 'm', 'S' .. what)
    said = now
  end
  local state = string.format('%d %d %d %.0f %.0f %d %d', second, p, c, said, since, w, ws)
  local mine = string.format('%d %d %d %d', second, np, nc, all)
  redis.call('HSET', key, 'r', string.format('%.0f', r), 's', state, 'n:' .. node, mine)
  redis.call('PEXPIRE', key, math.max(w > 0 and 11000 or 2500, math.ceil(ahead / 1000) + 1000))
  told[#told + 1] = math.ceil(ahead)
  told[#told + 1] = rate
  told[#told + 1] = share
  told[#told + 1] = flagrant
end
local news, rows = {}, {}
if last ~= '' then rows = redis.call('XRANGE', KEYS[2], '(' .. last, '+', 'COUNT', 64) end
for _, row in ipairs(rows) do
  news[#news + 1] = math.max(0, now - tonumber(string.match(row[1], '^(%d+)')) * 1000)
  news[#news + 1] = row[2][2]
  last = row[1]
end
if #rows == 0 then
  -- Also where the stream was lost with its server: it then begins below what was read.
  local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  tail = tail[1] and tail[1][1] or '0-0'
  local function moment(id) return tonumber(string.match(id, '^(%d+)')) end
  if last ~= '' and moment(tail) < moment(last) then tail = '0-0' end
  last = tail
end
return { now, nodes, last, told, news }
