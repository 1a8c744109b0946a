-- Takes the next message of a worker's queues and notes that the worker holds it, in one step. So no message is lost if
-- the worker dies, freezes or is cut off at that moment, or if Redis is full.
--
-- KEYS     the lists of messages, in the order in which to look
-- options: worker
--          queues        the queue of each list
--          acknowledged  for each list, whether its messages are acknowledged; the others are only taken, and not held
--          copy          the beginning of the tag of a copy
--
-- Returns the queue, the message and the tag by which it is held, "" if it is not held; or nothing.

for i, list in ipairs(KEYS) do
    local message = redis.call('LINDEX', list, -1)
    if message then
        local tag = ''
        if options.acknowledged[i] then
            local properties = (decode(message) or {}).properties
            tag = type(properties) == 'table' and properties.delivery_tag
            -- A message that Kombu has not written, or a copy of one that is already held, is held as well until the
            -- worker has put it aside.
            if type(tag) ~= 'string' or #tag > 255 or not string.find(tag, '^[%w._:-]+$') then
                tag = 'no-tag-' .. redis.call('INCR', key('number'))
            elseif redis.call('HEXISTS', key('held', options.worker), tag) == 1 then
                tag = options.copy .. redis.call('INCR', key('number'))
            end
            redis.call('HSET', key('held', options.worker), tag, cjson.encode({list, options.queues[i], message}))
            -- So that its messages are handed back even if it is lost before its first heartbeat.
            redis.call('ZADD', key('workers'), 'NX', now, options.worker)
        end
        redis.call('RPOP', list)
        return {options.queues[i], message, tag}
    end
end
return false
