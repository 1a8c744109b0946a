-- Records one event in the life of a task, in one round trip, or returns why the event is refused.
--
-- KEYS[1] Celery's document of the task; changes are published on a channel of the same name
-- ARGV[2] Celery's document as it is to be stored, or "". It is not parsed and encoded again, since cjson turns an
--         empty list into an empty object. For `checkpoint`, the checkpoint
-- options:
--   id, event   start         a worker starts the task
--               report        the attempt reports its progress
--               checkpoint    the attempt keeps a value for the next one
--               rest          the attempt is over, but the task is not: it waits to be tried again
--               hand_back     the same because `worker` stops; the task waits at the front of its queue
--               stall         the attempt was silent for too long, and `worker` ends it; the task waits in front, too
--               end           the task has ended
--               cancel        a client or an operator has cancelled the task
--               message_lost  the task's message is gone; this ends only a task that waits
--   run         the attempt that writes: `attempt`, `started`, `task`, `queue`, `worker`, `pid`, `nonce`, and the `tag`
--               of its message, if this Redis keeps the message. A start has neither of the first two. Absent if no
--               attempt writes, but a client or a worker's main process
--   fields      other fields to record
--   outcome, error  how the attempt has ended, if this event ends it, and the text of its error
--   attempt, stall_seconds, since  of a stall: the attempt that runs, for how long it may be silent, and since when its
--               worker has seen that it is, without an outage in between
--   most_lost   how often a task's worker may be lost before the task is no longer started
--
-- Returns {outcome, now, attempt, lost, stalled, checkpoint}: "stored", or why not: "cancelled", "ended", "superseded"
-- (another attempt has the task, or it is not silent) or "exhausted"; the current attempt; how often the task's worker
-- was lost, and how often of these it stalled; for a start, what an earlier attempt has kept, if any.

local id, event, run = options.id, options.event, options.run
if event ~= 'report' then
    refuse_if_full() -- for a report, its own first write has this effect
end
local record = load_record(id)
local known = record ~= nil

local function kept()
    local text = redis.pcall('GET', key('checkpoint', id))
    return type(text) == 'string' and text or nil
end

local function answer(outcome)
    local checkpoint = event == 'start' and outcome == 'stored' and kept() or nil
    local lost, stalled = record.lost or 0, record.stalled or 0
    return {outcome, string.format('%.6f', now), record.attempt or 0, lost, stalled, checkpoint}
end

local function publish()
    -- Celery's clients listen on this channel, and expect documents.
    local text = ARGV[2]
    if text == '' then
        text = cjson.encode({status = record.running and 'STARTED' or 'PENDING', task_id = id})
    end
    redis.call('PUBLISH', KEYS[1], text)
end

local function write_document()
    if ARGV[2] == '' then
        redis.call('DEL', KEYS[1])
    elseif record.ended and options.expires > 0 then
        redis.call('SET', KEYS[1], ARGV[2], 'EX', options.expires)
    else
        redis.call('SET', KEYS[1], ARGV[2])
    end
end

local resent = record and record.resent

-- How many attempts are kept besides the present one.
local MOST_ATTEMPTS = 19

-- How an event ends an attempt, unless `options.outcome` says so.
local OUTCOMES = {
    hand_back = 'handed back', stall = 'stalled', cancel = 'cancelled', message_lost = 'worker lost',
}

local function end_this_attempt()
    end_attempt(record, options.outcome or resent and 'retry' or OUTCOMES[event], options.error)
end

-- Puts the attempt that has ended beside the record, which is about to describe the next one.
local function put_attempt_aside()
    if (record.attempt or 0) > 0 then
        append(key('attempts', id), MOST_ATTEMPTS, cjson.encode({
            number = record.attempt, started = record.started, finished = record.attempt_ended,
            worker = record.worker, outcome = record.outcome, error = record.error,
        }))
    end
    record.attempt_ended, record.outcome, record.error = nil, nil, nil
    record.lines_before = record.lines
end

-- A retry may be started, and even end, before its attempt rests, which then tells the error.
local function add_error_of_earlier()
    local place = run.attempt - (record.attempt or 0)
    local entry = place < 0 and decode(redis.pcall('LINDEX', key('attempts', id), place))
    if entry and entry.number == run.attempt and entry.outcome == 'retry' and not entry.error then
        entry.error = options.error
        redis.call('LSET', key('attempts', id), place, cjson.encode(entry))
    end
end

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
    redis.call('DEL', unpack(keys_beside(id))) -- so that a record has all that is kept besides it
end

if event == 'rest' and run then
    add_error_of_earlier()
end
if event == 'start' and not run.tag then
    redis.call('SREM', key('reserved', run.worker), id)
end
local parts = record.parts
if event == 'cancel' and parts then
    -- It may be repeated as long as parts are open: whoever cancelled it may not have reached each of them.
    if parts.waiting + parts.running == 0 then
        return answer('ended')
    end
    parts.stopped = parts.stopped or now
    if not parts.ended then
        close_family(id, record, 'REVOKED')
    end -- else it has failed, and some of its parts still run
    if record.ended then -- a group, or a task that has ended before its children
        save_record(id, record)
        publish()
        return answer('stored')
    end
elseif (event == 'start' or event == 'report') and record.family and not record.ended then
    -- Its family may have been cancelled by a process that died before it had cancelled each part.
    local family = record.family == id and record or load_family(record.family)
    if family and family.parts and family.parts.stopped then
        record.cancelled = now
        end_attempt(record, 'cancelled')
        finish(id, record)
        redis.call('DEL', KEYS[1]) -- until whoever ends the part brings one that says so
        save_record(id, record)
    end
end
if record.ended then
    local tells = event == 'cancel' or event == 'end' and options.fields.state == 'REVOKED'
    if record.cancelled and tells and ARGV[2] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
        write_document()
        publish()
    end
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
        end_attempt(record, resent and 'retry' or 'worker lost')
        stop_running(id, record)
    end
    if (record.lost or 0) >= options.most_lost then
        save_record(id, record)
        return answer('exhausted')
    end
    put_attempt_aside()
    record.attempt = (record.attempt or 0) + 1
    record.started, record.sending = now, nil
    record.unstoppable, record.time_limit, record.stall_seconds = nil, nil, nil -- of another worker's pool
    record.checkpoint = kept() and 1
    if record.checkpoint then
        record.resumed, record.resumed_at = done_of(record) or 0, nil -- the task goes on from about there
    else
        record.reported, record.progress, record.meta, record.resumed, record.resumed_at = nil, nil, nil, nil, nil
    end
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
    -- It goes on: perhaps its worker had been taken for lost.
    record.attempt_ended, record.outcome, record.error = nil, nil, nil
elseif event == 'hand_back' and not (record.running and record.worker == options.worker) then
    return answer('superseded')
elseif event == 'stall' then
    if record.outcome == 'stalled' and record.worker == options.worker and record.attempt == options.attempt
        and not record.running then
        return answer('stored') -- sent again, because the first answer was lost
    end
    local heard = math.max(record.started or 0, record.reported or 0, options.since)
    local runs = record.running and record.worker == options.worker and record.attempt == options.attempt
    if not runs or resent or now - heard <= options.stall_seconds then
        return answer('superseded')
    end
    record.lost, record.stalled = (record.lost or 0) + 1, (record.stalled or 0) + 1
elseif event == 'message_lost' and not waits() then
    return answer('superseded')
end

local is_taken_up = run and not (record.running and record.worker == run.worker)
if is_taken_up and event ~= 'end' then
    -- It may be first known now, sent by a program without this extension, or its lost record was that of a part.
    list_open(id, record)
end
if run and (event == 'start' or event == 'report' or event == 'checkpoint') then
    if is_taken_up then
        redis.call('SADD', key(run.tag and 'running' or 'unheld', run.worker), id)
    end
    record.running = 1
    record.worker, record.pid, record.nonce_of_run = run.worker, run.pid, run.nonce
    record.task, record.queue = run.task, record.queue or run.queue
end
if event == 'checkpoint' then
    redis.call('SET', key('checkpoint', id), ARGV[2])
    record.checkpoint, record.reported = 1, now
    save_record(id, record)
    return answer('stored')
end
if options.fields.progress then -- Celery's STARTED comes as a report, too, and says nothing
    record.reported, record.meta = now, nil
end
if event == 'cancel' then
    record.cancelled = now -- the task may run on for a while, and `running` stays set
    end_this_attempt()
elseif event ~= 'start' and event ~= 'report' then
    end_this_attempt()
    stop_running(id, record)
end
for field, value in pairs(options.fields) do
    record[field] = value
end
if options.fields.progress and record.resumed and not record.resumed_at then
    record.resumed, record.resumed_at = done_of(record) or 0, now -- the checkpoint may be ahead of the last report
end
if event == 'stall' or event == 'hand_back' and not resent then -- a task that was sent again waits already
    join_queue_in_front(id, record)
elseif event == 'end' or event == 'cancel' or event == 'message_lost' then
    finish(id, record)
end

write_document()
save_record(id, record)
publish()
return answer('stored')
