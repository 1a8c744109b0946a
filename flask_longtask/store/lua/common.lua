-- The beginning of every script. ARGV[1] is a JSON object of options, including `prefix` and `documents` (keys.py
-- lists every key). Times are seconds since 1970 by this server's clock.

local options = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function key(name, of)
    return options.prefix .. name .. (of and ':' .. of or '')
end

local function decode(text)
    local readable, value = pcall(cjson.decode, text or '')
    return readable and type(value) == 'table' and value or nil
end

-- Returns the stored object, or nil if there is none: no key, a key of another type, text that is not JSON.
local function load(name)
    local text = redis.pcall('GET', name)
    return type(text) == 'string' and decode(text) or nil
end

-- Removes fields of the wrong type, so that a task goes on whatever was stored instead of its record.
local function mend(record)
    local types = {
        queue = 'string', worker = 'string', claim = 'string', nonce = 'string', nonce_of_run = 'string',
        attempt = 'number', lost = 'number', score = 'number', eta = 'number', submitted = 'number',
        started = 'number', running = 'number', resent = 'number', cancelled = 'number', ended = 'number',
        sending = 'number', unsent = 'number', result_bytes = 'number', left = 'nil',
    }
    for field, its_type in pairs(types) do
        if type(record[field]) ~= its_type then
            record[field] = nil
        end
    end
end

local function load_record(id)
    local record = load(key('task', id))
    if record and record.format ~= 1 then
        mend(record) -- not written by these scripts
    end
    return record
end

-- An open task never expires. The time to live of its record begins when it ends.
local function save_record(id, record)
    record.format = 1
    local text = cjson.encode(record)
    if record.ended and options.expires > 0 then
        redis.call('SET', key('task', id), text, 'EX', options.expires)
    else
        redis.call('SET', key('task', id), text)
    end
end

-- Once a script has written anything, even a full Redis lets it write on. So this write, which a full Redis refuses,
-- comes first.
local function refuse_if_full()
    redis.call('SET', key('writable'), 1, 'EX', 60)
end

-- Notes that the task no longer waits for a worker: it is started, or has ended.
local function leave_queue(id, record)
    if record.left then
        return
    end
    record.left = 1
    if record.queue then
        redis.call('ZREM', key('waiting', record.queue), id)
    end
    redis.call('ZREM', key('scheduled'), id)
    redis.call('ZREM', key('sending'), id)
end

-- Notes that the task waits for a worker. `score` orders the tasks of a queue.
local function join_queue(id, record)
    record.left = nil
    if record.eta and record.eta > now then
        redis.call('ZADD', key('scheduled'), record.eta, id)
    else
        redis.call('ZADD', key('waiting', record.queue), record.score, id)
    end
end

-- Notes that the task waits again, at the front of its queue, like its message.
local function join_queue_in_front(id, record)
    if record.queue then
        local first = redis.call('ZRANGE', key('waiting', record.queue), 0, 0, 'WITHSCORES')
        record.score = (tonumber(first[2]) or 1) - 1
        record.eta = nil
        join_queue(id, record)
    end
end

local function stop_running(id, record)
    record.running = nil
    record.resent = nil
    if record.worker then
        if redis.call('SREM', key('running', record.worker), id) == 0 then
            redis.call('SREM', key('unheld', record.worker), id)
        end
    end
end

local function finish(id, record)
    record.ended = now
    leave_queue(id, record)
    if record.claim and options.expires > 0 then
        redis.call('EXPIRE', key('claim', record.claim), options.expires)
    end
end

-- The ids of the tasks that follow it in a chain or chord. Anybody may have written to the record.
local function followers_of(record)
    local ids = {}
    for _, id in ipairs(type(record.followers) == 'table' and record.followers or {}) do
        ids[#ids + 1] = type(id) == 'string' and id or nil
    end
    return ids
end

-- Ends a task of which it is unknown whether its message was sent. Neither it nor its followers will ever run.
local function bury(id, record)
    for _, follower in ipairs(followers_of(record)) do
        local follower_record = load_record(follower)
        if follower_record and not follower_record.ended and not follower_record.nonce then
            follower_record.unsent = 1
            finish(follower, follower_record)
            save_record(follower, follower_record)
        end
    end
    record.unsent, record.sending = 1, nil
    finish(id, record)
    save_record(id, record)
end

local function ring(queue)
    -- The message has been pushed already, so this must not fail.
    local rung = redis.pcall('LPUSH', key('bell', queue), 1)
    if type(rung) == 'table' and rung.err then
        redis.call('DEL', key('bell', queue))
        redis.call('LPUSH', key('bell', queue), 1)
    end
    redis.call('LTRIM', key('bell', queue), 0, 99)
    redis.call('EXPIRE', key('bell', queue), 60)
end
