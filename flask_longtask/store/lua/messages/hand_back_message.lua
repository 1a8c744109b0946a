-- Puts a message that a worker holds back at the front of its queue, to be taken next.
--
-- ARGV[2]  the message, marked as redelivered
-- options: worker, tag, list, queue; at_the_end, to put it at the end of the queue instead
--
-- Returns 1, or 0 if the worker no longer holds it.

if redis.call('HDEL', key('held', options.worker), options.tag) == 0 then
    return 0
end
redis.call(options.at_the_end and 'LPUSH' or 'RPUSH', options.list, ARGV[2])
ring(options.queue)
return 1
