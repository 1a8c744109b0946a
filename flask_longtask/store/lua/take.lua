-- Takes the next message of a worker's queues and notes that the worker holds it, in one step: a worker that dies,
-- freezes or is cut off at that moment, and a Redis that is full, can then lose no message.
--
-- KEYS     the lists of messages, in the order in which to look
-- options: worker
--          queues        for each list its queue
--          acknowledged  for each list whether its messages are: of the others to take one is all
--          copy          what the tag of a copy begins with
--
-- Returns the queue, the message and the tag by which it is held, "" where it is not; or nothing.

for i, list in ipairs(KEYS) do
    local message = redis.call('LINDEX', list, -1)
    if message then
        local tag = ''
        if options.acknowledged[i] then
            local properties = (decode(message) or {}).properties
            tag = type(properties) == 'table' and properties.delivery_tag
            -- What Kombu has not written, and a copy of what is held already, are held all the same until the worker
            -- has put them aside.
            if type(tag) ~= 'string' or #tag > 255 or not string.find(tag, '^[%w._:-]+$') then
                tag = 'no-tag-' .. redis.call('INCR', key('number'))
            elseif redis.call('HEXISTS', key('held', options.worker), tag) == 1 then
                tag = options.copy .. redis.call('INCR', key('number'))
            end
            redis.call('HSET', key('held', options.worker), tag, cjson.encode({list, options.queues[i], message}))
            -- What it holds is looked through when it is lost, even if it is lost before its first heartbeat.
            redis.call('ZADD', key('workers'), 'NX', now, options.worker)
        end
        redis.call('RPOP', list)
        return {options.queues[i], message, tag}
    end
end
return false
