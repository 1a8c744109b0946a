-- Finds tasks that wait and have no message any more: their queue was purged, or lost by its broker.
--
-- Counting is enough as long as there are as many messages as tasks, which costs the same however many there are.
-- Only where there are fewer, every message is looked at.
--
-- options:
--   most      a queue with more messages than this is not looked through
--   grace     seconds after which a message that was to be sent has not been sent
--   messages  how many messages another broker has ready; absent where this Redis is the broker. It may still hold
--             others for a worker that it does not know to be lost yet: see `unsettled` in keys.py
--   sure      whether there were too few of them the last times as well. Such a broker is counted a moment after
--             this one and cannot be looked through: what has waited longest is missing
--
-- Returns {too few, ids…}: 1 where there are too few messages, and the tasks that have none.

if options.messages and redis.call('EXISTS', key('unsettled')) == 1 then
    return {0}
end

local lost, scheduled = {}, key('scheduled')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('sending'), '-inf', now - options.grace, 'LIMIT', 0, 1000)) do
    table.insert(lost, id)
end

local workers = redis.call('ZRANGE', key('workers'), 0, -1)
local tasks, messages = redis.call('ZCARD', scheduled), options.messages or 0
local queues = {}
local stored = redis.call('HGETALL', key('queues'))
for i = 1, #stored, 2 do
    local queue = {name = stored[i], lists = decode(stored[i + 1]) or {}, length = 0}
    table.insert(queues, queue)
    tasks = tasks + redis.call('ZCARD', key('waiting', queue.name))
    if not options.messages then
        for _, list in ipairs(queue.lists) do
            local length = redis.pcall('LLEN', list) -- an error where somebody has written something else
            queue.length = queue.length + (type(length) == 'number' and length or 0)
        end
        messages = messages + queue.length
    end
end
local open = tasks + redis.call('ZCARD', key('sending'))
for _, worker in ipairs(workers) do
    if options.messages then
        messages = messages + redis.call('SCARD', key('reserved', worker))
    else
        messages = messages + redis.call('HLEN', key('held', worker))
        tasks = tasks + redis.call('SCARD', key('running', worker))
    end
    open = open + redis.call('SCARD', key('running', worker)) + redis.call('SCARD', key('unheld', worker))
end
if open == 0 and messages == 0 then
    -- Until tasks are sent again. What is scheduled, runs or is held may come back to any of these queues.
    redis.call('DEL', key('queues'))
end
if messages >= tasks then
    return {0, unpack(lost)}
end

local has_message = {}
local function note(text)
    local message = decode(text)
    local id = message and type(message.headers) == 'table' and message.headers.id
    if id then
        has_message[id] = true
    end
end
for _, worker in ipairs(workers) do
    if options.messages then
        for _, id in ipairs(redis.call('SMEMBERS', key('reserved', worker))) do
            has_message[id] = true
        end
    else
        for _, held in ipairs(redis.call('HVALS', key('held', worker))) do
            note((decode(held) or {})[3])
        end
    end
end
for _, queue in ipairs(queues) do
    queue.is_known = queue.length <= options.most
    for _, list in ipairs(not options.messages and queue.is_known and queue.lists or {}) do
        for first = 0, redis.call('LLEN', list) - 1, 1000 do
            for _, text in ipairs(redis.call('LRANGE', list, first, first + 999)) do
                note(text)
            end
        end
    end
end
for _, worker in ipairs(options.messages and {} or workers) do
    -- A task that runs without a message does so to its end, and is lost with its worker.
    for _, id in ipairs(redis.call('SMEMBERS', key('running', worker))) do
        if not has_message[id] then
            redis.call('SREM', key('running', worker), id)
            local record = load_record(id)
            if record and record.running and record.worker == worker then
                redis.call('SADD', key('unheld', worker), id)
            end
        end
    end
end

-- No more at a time than a script can return and a worker can end before the next look.
local most = options.messages and math.min(1000, options.sure and tasks - messages or 0) or 1000
local function look_at(name)
    for _, id in ipairs(redis.call('ZRANGE', name, 0, -1)) do
        if not has_message[id] then
            local record = load_record(id)
            if not record or record.ended then
                redis.call('ZREM', name, id)
            elseif most > 0 then
                most = most - 1
                table.insert(lost, id)
            end
        end
    end
end
local all_known = true
for _, queue in ipairs(queues) do
    all_known = all_known and queue.is_known
    if queue.is_known then
        look_at(key('waiting', queue.name))
    end
end
if all_known then
    look_at(scheduled)
end
return {1, unpack(lost)}
