-- Takes the next message of a worker's queues and notes that it is held, in one step: a worker that dies,
-- freezes or is cut off at that moment, and a Redis that is full, can then lose no message.
--
-- KEYS[1]  what is held: a hash of the messages by their delivery tags, as kombu keeps them
-- KEYS[2]  since when: a sorted set of the tags;  KEYS[3..]  the lists, in the order in which to look
-- ARGV[1]  now, by the worker's clock, as kombu has it
-- ARGV[2..]  for each list 1 if its messages are acknowledged, 0 if to take one is all
--
-- Returns the list and the message, or nothing.

for i = 3, #KEYS do
    local message = redis.call('LINDEX', KEYS[i], -1)
    if message then
        local readable, parsed = pcall(cjson.decode, message)
        if ARGV[i - 1] == '1' and readable then
            local properties = parsed.properties
            local route = properties.delivery_info
            local held = {message, cjson.encode(route.exchange), cjson.encode(route.routing_key)}
            redis.call('HSET', KEYS[1], properties.delivery_tag, '[' .. table.concat(held, ',') .. ']')
            redis.call('ZADD', KEYS[2], ARGV[1], properties.delivery_tag)
        end
        redis.call('RPOP', KEYS[i])
        return {KEYS[i], message}
    end
end
return false
