-- Puts aside a message that no worker can handle: adds it to the list of the last ones, with the reason and the time.
--
-- ARGV[2]  the message, or a description of it; not used if the worker holds it
-- options: worker, tag    the worker that holds it, and the tag, where this Redis keeps the messages
--          queue, reason
--          most, longest  how many messages are kept, and how many bytes of each
--          kept           for how many seconds they are kept
--
-- Returns 1.

local text, queue = ARGV[2], options.queue
local held = options.tag and redis.call('HGET', key('held', options.worker), options.tag)
if held then
    local entry = decode(held) or {}
    text = type(entry[3]) == 'string' and entry[3] or held
    queue = type(entry[2]) == 'string' and entry[2] or queue
end
local entry = {at = now, queue = queue, reason = options.reason, message = string.sub(text, 1, options.longest)}
push(key('rejected'), options.most, cjson.encode(entry))
redis.call('EXPIRE', key('rejected'), options.kept)
if held then
    redis.call('HDEL', key('held', options.worker), options.tag)
end
return 1
