-- Records one event in the life of a task, in one round trip, or says why it is refused.
--
-- KEYS[1] Celery's document of the task; changes are published on a channel of the same name
-- ARGV[2] Celery's document as it is to be stored, or "". It is never parsed and written again: cjson turns an
--         empty list into an empty object
-- options:
--   id, event   start         a worker takes the task up
--               report        the attempt tells how far it is
--               rest          the attempt is over and the task is not: it waits to be tried again
--               hand_back     the same because `worker` stops; it waits before all others
--               end           it has ended
--               cancel        a client or an operator has cancelled it
--               message_lost  its message is gone; only a task that waits can end by this
--   run         the attempt that writes: `attempt`, `started`, `task`, `queue`, `worker`, `pid`, `nonce`, and `tag`,
--               of its message, where this Redis keeps that. A start has neither of the first two. Absent where no
--               attempt writes: a client, a worker's main process
--   fields      what else to record
--   most_lost   how often a task's worker may be lost before it is not started again
--
-- Returns {outcome, now, attempt, lost}: "stored", or why not: "cancelled", "ended", "superseded" (another attempt
-- has the task) or "exhausted"; the present attempt; how often the task's worker was lost.

local id, event, run = options.id, options.event, options.run
if event ~= 'report' then
    refuse_if_full() -- of a report the first write is one already
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
    -- Two attempts may have one number, after a record was lost. The first that wrote has the task.
    local nonce = record.nonce_of_run
    return record.attempt == attempt.attempt and (not nonce or nonce == attempt.nonce)
end

local function waits()
    return redis.call('ZSCORE', key('scheduled'), id) or redis.call('ZSCORE', key('sending'), id)
        or record.queue and redis.call('ZSCORE', key('waiting', record.queue), id)
end

if not known then
    -- Sent by a program without this extension, or the record was deleted or overwritten. The task goes on, by what
    -- the attempt knows about itself.
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
        return answer('stored') -- said once more, because the answer to the first time was lost
    end
    if known and run.tag and redis.call('HEXISTS', key('held', run.worker), run.tag) == 0 then
        return answer('superseded') -- the worker was cut off, and its message has been handed to another
    end
    record.queue = record.queue or run.queue -- where it waits, though its record was lost
    leave_queue(id, record)
    if record.running then
        if not record.resent then
            -- Its message came again although its attempt has neither ended nor been handed back.
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
    -- What started before the task was sent is an attempt at an earlier one of its id.
    local is_earlier = record.submitted and run.started and run.started < record.submitted
    if not known or run.attempt > (record.attempt or 0) and not is_earlier then
        stop_running(id, record) -- by the worker of an older attempt
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
    record.cancelled = now -- it may run on for a while, and says so
elseif event ~= 'start' then
    stop_running(id, record)
end
-- Such as the `progress` of a report.
for field, value in pairs(options.fields) do
    record[field] = value
end
if event == 'hand_back' and not resent then -- else it waits already, as it was sent again
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
