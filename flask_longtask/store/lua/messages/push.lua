-- Pushes a message that belongs to no task.
--
-- ARGV[2]  the message
-- options: list, queue

redis.call('LPUSH', options.list, ARGV[2])
ring(options.queue)
return 1
