-- The steps in the life of a task. For scripts that change tasks; comes after families.lua.

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

-- Notes how the present attempt has ended, if it has not ended yet. A task that was never started has no attempt.
local function end_attempt(record, outcome, error, at)
    if (record.attempt or 0) > 0 and not record.attempt_ended then
        record.attempt_ended, record.outcome, record.error = at or now, outcome, error
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
    list_ended(id, record)
    redis.call('DEL', key('checkpoint', id)) -- even if its record was lost in between
    record.checkpoint, record.resumed, record.resumed_at = nil, nil, nil
    if record.restartable and record.state and record.state ~= 'FAILURE' and record.state ~= 'REVOKED' then
        redis.call('DEL', key('arguments', id))
        record.restartable = nil
    end
    record.score = nil
    if not record.running then
        record.pid, record.nonce_of_run = nil, nil
    end
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
