-- Appends an entry to the room's log, once, however often its node tries.
-- KEYS: the log, its head, the number of the writer's last entry.  ARGV: this entry's number, its tag, bytes to keep, frames.
local number = tonumber(ARGV[1])
if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  return 'again'
end
local head = redis.call('HMGET', KEYS[2], 'place', 'tag')
local frames = ARGV[4]
local place = tonumber(head[1] or 0) + #frames
local function whole(n)
  return string.format('%.0f', n)
end
redis.call('XADD', KEYS[1], 'MINID', '~', whole(math.max(0, place - ARGV[3])), whole(place) .. '-0',
  't', ARGV[2], 'p', head[2] or '', 'b', frames)
redis.call('HSET', KEYS[2], 'place', whole(place), 'tag', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', 3600)
return 'ok'
