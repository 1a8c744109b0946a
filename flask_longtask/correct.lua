-- Corrects how many tasks wait in a queue by what its broker says: see register.lua for the numbers.
--
-- KEYS[1]  the queue;  KEYS[2]  its cancelled tasks (see store.lua);  ARGV[1]  how many messages it has
-- ARGV[2]  seconds after which every task that was registered has been published, or never will be
--
-- Returns 1, or 0 if a task has been registered since: its message may not have been counted.

local time = redis.call('TIME')
local numbers = redis.call('HMGET', KEYS[1], 'last', 'at')
if time[1] - (tonumber(numbers[2]) or 0) <= tonumber(ARGV[2]) then
    return 0
end
local started = math.max(0, (tonumber(numbers[1]) or 0) - ARGV[1])
redis.call('HSET', KEYS[1], 'started', started)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', started)
return 1
