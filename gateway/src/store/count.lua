-- A counter that ends at a moment, as a quota does.
-- KEYS[1]  the counter
-- ARGV[1]  what to add; 0 only looks
-- ARGV[2]  the most that it may come to; beyond it nothing is added
-- ARGV[3]  milliseconds until it ends, from its first count on
-- Returns  {1 if it was added else 0, the count, milliseconds left}
-- Atomic: one that has ended begins anew within the same call. The write comes first, so that a full
-- Redis refuses it as a whole.
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
local left = redis.call('PTTL', KEYS[1])
local add, most, length = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if add == 0 or count + add > most then
  return {0, count, left > 0 and left or length}
end
if left > 0 then
  return {1, redis.call('INCRBY', KEYS[1], ARGV[1]), left}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return {1, add, length}
