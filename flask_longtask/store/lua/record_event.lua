-- Records one event in the life of a task, in one round trip, or returns why the event is refused.
--
-- KEYS[1] Celery's document of the task; changes are published on a channel of the same name
-- ARGV[2] Celery's document as it is to be stored, or "". It is not parsed and encoded again, since cjson turns an
--         empty list into an empty object
-- options:
--   id, event   start         a worker starts the task
--               report        the attempt reports its progress
--               rest          the attempt is over, but the task is not: it waits to be tried again
--               hand_back     the same because `worker` stops; the task waits at the front of its queue
--               end           the task has ended
--               cancel        a client or an operator has cancelled the task
--               message_lost  the task's message is gone; this ends only a task that waits
--   run         the attempt that writes: `attempt`, `started`, `task`, `queue`, `worker`, `pid`, `nonce`, and the `tag`
--               of its message, if this Redis keeps the message. A start has neither of the first two. Absent if no
--               attempt writes, but a client or a worker's main process
--   fields      other fields to record
--   most_lost   how often a task's worker may be lost before the task is no longer started
--
-- Returns {outcome, now, attempt, lost}: "stored", or why not: "cancelled", "ended", "superseded" (another attempt
-- has the task) or "exhausted"; the current attempt; how often the task's worker was lost.

local id, event, run = options.id, options.event, options.run
if event ~= 'report' then
    refuse_if_full() -- for a report, its own first write has this effect
end
local record = load_record(id)
local known = record ~= nil

local function answer(outcome)
    return {outcome, string.format('%.6f', now), record.attempt or 0, record.lost or 0}
end

local function publish()
    -- Celery's clients listen on this channel, and expect documents.
    local text = ARGV[2]
    if text == '' then
        text = cjson.encode({status = record.running and 'STARTED' or 'PENDING', task_id = id})
    end
    redis.call('PUBLISH', KEYS[1], text)
end

local resent = record and record.resent

local function has_run(attempt)
    -- After a record was lost, two attempts may have the same number. The first that wrote has the task.
    local nonce = record.nonce_of_run
    return record.attempt == attempt.attempt and (not nonce or nonce == attempt.nonce)
end

local function waits()
    return redis.call('ZSCORE', key('scheduled'), id) or redis.call('ZSCORE', key('sending'), id)
        or record.queue and redis.call('ZSCORE', key('waiting', record.queue), id)
end

if not known then
    -- The task was sent by a program without this extension, or its record was deleted or overwritten. It goes on with
    -- what the attempt knows about itself.
    record = {}
    local document = load(KEYS[1])
    local state = document and document.status
    if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then
        return answer('ended')
    end
end

if event == 'start' and not run.tag then
    redis.call('SREM', key('reserved', run.worker), id)
end
if record.ended then
    local stops = event == 'rest' or event == 'end' or event == 'hand_back' and record.worker == options.worker
    if record.running and stops and (not run or has_run(run)) then
        -- A cancelled task that ran on has come to its end.
        stop_running(id, record)
        redis.call('SET', key('task', id), cjson.encode(record), 'KEEPTTL')
        publish()
    end
    return answer(record.cancelled and 'cancelled' or 'ended')
end

if event == 'start' then
    if record.running and record.worker == run.worker and record.pid == run.pid and record.nonce_of_run == run.nonce then
        return answer('stored') -- sent again, because the first answer was lost
    end
    if known and run.tag and redis.call('HEXISTS', key('held', run.worker), run.tag) == 0 then
        return answer('superseded') -- the worker was cut off, and its message was handed back
    end
    record.queue = record.queue or run.queue -- where it waits, even if its record was lost
    leave_queue(id, record)
    if record.running then
        if not record.resent then
            -- Its message was redelivered although its attempt has neither ended nor been handed back.
            record.lost = (record.lost or 0) + 1
        end
        stop_running(id, record)
    end
    if (record.lost or 0) >= options.most_lost then
        save_record(id, record)
        return answer('exhausted')
    end
    record.attempt = (record.attempt or 0) + 1
    record.started, record.reported, record.progress, record.sending = now, nil, nil, nil
elseif run then
    -- An attempt that started before the task was sent belongs to an earlier task with the same id.
    local is_earlier = record.submitted and run.started and run.started < record.submitted
    if not known or run.attempt > (record.attempt or 0) and not is_earlier then
        stop_running(id, record) -- an older attempt's run
        record.worker, record.queue = run.worker, record.queue or run.queue
        record.attempt, record.started = run.attempt, run.started
    elseif not (record.running and has_run(run)) then
        return answer('superseded')
    end
elseif event == 'hand_back' and not (record.running and record.worker == options.worker) then
    return answer('superseded')
elseif event == 'message_lost' and not waits() then
    return answer('superseded')
end

if run and (event == 'start' or event == 'report') then
    if not (record.running and record.worker == run.worker) then
        redis.call('SADD', key(run.tag and 'running' or 'unheld', run.worker), id)
    end
    record.running = 1
    record.worker, record.pid, record.nonce_of_run = run.worker, run.pid, run.nonce
    record.task, record.queue = run.task, record.queue or run.queue
end
if event == 'report' then
    record.reported = now
elseif event == 'cancel' then
    record.cancelled = now -- the task may run on for a while, and `running` stays set
elseif event ~= 'start' then
    stop_running(id, record)
end
for field, value in pairs(options.fields) do
    record[field] = value
end
if event == 'hand_back' and not resent then -- a task that was sent again waits already
    join_queue_in_front(id, record)
elseif event == 'end' or event == 'cancel' or event == 'message_lost' then
    finish(id, record)
end

if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
elseif record.ended and options.expires > 0 then
    redis.call('SET', KEYS[1], ARGV[2], 'EX', options.expires)
else
    redis.call('SET', KEYS[1], ARGV[2])
end
save_record(id, record)
publish()
return answer('stored')
