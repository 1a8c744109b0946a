-- Records one change of a task's state, in one round trip, or says why it is refused.
--
-- KEYS[1]  Celery's document, celery-task-meta-<id>; changes are published under the same name
-- KEYS[2]  our record, longtask:<id>
-- ARGV[1]  Celery's document as it is to be stored. It is never parsed and written again: Lua's cjson
--          turns an empty list into {}
-- ARGV[2]  fields of the record to set, a JSON object of strings and numbers
-- ARGV[3]  what happens: "start" (a worker takes the task up), "report" (it runs on) or "rest" (it does
--          not run any more: it has ended, or goes back to waiting)
-- ARGV[4]  the attempt that writes, or "" when the writer is none (a client, the worker's main process)
-- ARGV[5]  seconds to keep both, 0 for ever
-- ARGV[6]  how often a task's worker may be lost before it is not started again
--
-- Returns {verdict, attempt, lost}: "stored", or why not: "cancelled", "ended", "superseded" (another
-- attempt runs) or "exhausted"; the task's present attempt; how often its worker was lost.

-- What cannot be read as a record is none: the task goes on.
local text = redis.call('GET', KEYS[2])
local readable, record = pcall(cjson.decode, text or '')
if not readable or type(record) ~= 'table' then
    text, record = false, {}
end
local event = ARGV[3]

local function answer(verdict)
    return {verdict, tonumber(record.attempt) or 0, tonumber(record.lost) or 0}
end

if event == 'start' and type(record.number) == 'number' and type(record.queue) == 'string' then
    -- Whoever has a smaller number in this queue has had his turn; see register.lua.
    local queue = 'longtask:queue:' .. record.queue
    if record.number > tonumber(redis.call('HGET', queue, 'started') or 0) then
        redis.call('HSET', queue, 'started', record.number)
        redis.call('ZREMRANGEBYSCORE', 'longtask:cancelled:' .. record.queue, '-inf', record.number)
    end
end

if record.cancelled then
    return answer('cancelled')
elseif record.ended then
    return answer('ended')
elseif not text then
    -- Published by a program without this extension: its end is known from Celery's document alone.
    local found, meta = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '')
    local state = found and type(meta) == 'table' and meta.status
    if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then
        return answer('ended')
    end
end
local fields = cjson.decode(ARGV[2])
if event == 'start' and record.running and record.started == fields.started
        and record.worker == fields.worker and record.pid == fields.pid then
    return answer('stored') -- said once more, because the answer to the first time was lost
end
if event == 'start' and record.running and fields.deliveries < (tonumber(record.deliveries) or 0) then
    return answer('superseded') -- by a worker that was cut off, from a message that another has by now
end
if ARGV[4] ~= '' and (tonumber(ARGV[4]) ~= record.attempt or not record.running) then
    return answer('superseded')
end

if event == 'start' then
    if record.running then
        -- It is handed out again although nobody handed it back.
        record.lost = (tonumber(record.lost) or 0) + 1
    end
    record.running = nil
    if (tonumber(record.lost) or 0) >= tonumber(ARGV[6]) then
        redis.call('SET', KEYS[2], cjson.encode(record), 'KEEPTTL')
        return answer('exhausted')
    end
    record.attempt = (tonumber(record.attempt) or 0) + 1
    record.running = 1
    record.progress = nil
elseif event == 'rest' then
    record.running = nil
end
for field, value in pairs(fields) do
    record[field] = value
end

if fields.cancelled and not record.attempt and type(record.queue) == 'string' then
    -- Its message still waits, but nobody has to wait for it.
    redis.call('ZADD', 'longtask:cancelled:' .. record.queue, record.number, record.number)
end

text = cjson.encode(record)
local seconds = tonumber(ARGV[5])
if seconds > 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', seconds)
    redis.call('SET', KEYS[2], text, 'EX', seconds)
else
    redis.call('SET', KEYS[1], ARGV[1])
    redis.call('SET', KEYS[2], text)
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return answer('stored')
