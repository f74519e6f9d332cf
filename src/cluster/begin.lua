-- Registers a writer, and returns where the log ends.  KEYS: the log, its head, the number of the writer's last entry.
-- Registering is a write, so it fails while Redis accepts no entries.
redis.call('SET', KEYS[3], 0, 'EX', 3600)
local head = redis.call('HMGET', KEYS[2], 'place', 'tag')
-- Entries after the end were written by someone else, and nothing could be appended after them.
if #redis.call('XRANGE', KEYS[1], '(' .. (head[1] or 0) .. '-0', '+', 'COUNT', 1) > 0 then
  redis.call('DEL', KEYS[1])
end
return head
