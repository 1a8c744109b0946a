-- A worker's sign of life. The time is this server's: the workers' own clocks may differ.
--
-- KEYS[1]  all workers, a sorted set with the time of their last sign
-- KEYS[2..]  the queues it serves, a sorted set each of the workers that serve it
-- ARGV[1]  the worker;  ARGV[2]  seconds for which a sign holds

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for _, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 10 * ARGV[2])
    redis.call('ZADD', key, now, ARGV[1])
end
