-- Takes the next message of a worker's queues and notes that the worker holds it, in one step: a worker that dies,
-- freezes or is cut off at that moment, and a Redis that is full, can then lose no message.
--
-- KEYS     the lists of messages, in the order in which to look
-- options: worker; for each list its queue in `queues`, and in `acknowledged` whether its messages are: of the
--          others to take one is all
--
-- Returns the queue and the message, or nothing.

for i, list in ipairs(KEYS) do
    local message = redis.call('LINDEX', list, -1)
    if message then
        local parsed = options.acknowledged[i] and decode(message)
        local tag = parsed and parsed.properties and parsed.properties.delivery_tag
        if tag then
            redis.call('HSET', key('held', options.worker), tag, cjson.encode({list, options.queues[i], message}))
            -- What it holds is looked through when it is lost, even if it is lost before its first heartbeat.
            redis.call('ZADD', key('workers'), 'NX', now, options.worker)
        end
        redis.call('RPOP', list)
        return {options.queues[i], message}
    end
end
return false
