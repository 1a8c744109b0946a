-- Finds tasks that wait and no longer have a message: their queue was purged, or their broker lost it.
--
-- As long as there are as many messages as tasks, counting them is enough, and costs the same however many there are.
-- Only if there are fewer messages does the script read every message.
--
-- options:
--   most      a queue with more messages than this is not searched
--   grace     seconds after which a message that was to be sent counts as not sent
--   messages  how many messages another broker has ready; absent where this Redis is the broker. The other broker may
--             hold more for a worker that it does not yet know to be lost: see `unsettled` in keys.py
--   sure      whether the last checks found too few of these messages as well. The other broker is not counted at the
--             same moment as this Redis, and cannot be searched: the tasks that have waited longest count as lost
--
-- Returns {too few, ids…}: 1 if there are too few messages, else 0, and the tasks that have none.

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
            local length = redis.pcall('LLEN', list) -- an error if the key is not a list
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
    -- Sending a task adds its queue again. With any open task, the queues are kept, since a message that is scheduled,
    -- runs or is held may come back to any of them.
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
    queue.is_searched = queue.length <= options.most
    for _, list in ipairs(not options.messages and queue.is_searched and queue.lists or {}) do
        for first = 0, redis.call('LLEN', list) - 1, 1000 do
            for _, text in ipairs(redis.call('LRANGE', list, first, first + 999)) do
                note(text)
            end
        end
    end
end
for _, worker in ipairs(options.messages and {} or workers) do
    -- A task that runs without a message runs to its end, or is lost with its worker.
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

-- No more at a time than a script can return and a worker can end before the next check.
local most = options.messages and math.min(1000, options.sure and tasks - messages or 0) or 1000
local function find_lost(name)
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
local all_searched = true
for _, queue in ipairs(queues) do
    all_searched = all_searched and queue.is_searched
    if queue.is_searched then
        find_lost(key('waiting', queue.name))
    end
end
if all_searched then
    find_lost(scheduled)
end
return {1, unpack(lost)}
