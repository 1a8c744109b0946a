-- Records a task before its message is published, and the tasks that will follow it in a chain or chord.
--
-- KEYS[1]  Celery's document of the task;  KEYS[2]  our record of it
-- KEYS[3]  its queue: a hash of the number given `last`, when (`at`), and the highest number `started`
-- KEYS[4]  the claim of the request that starts it (see idempotency.py)
-- KEYS[5..]  our records of the tasks that follow
-- ARGV[1]  seconds to keep a record, 0 for ever
-- ARGV[2]  1 when a worker publishes: a retry, or the next step of a chain
-- ARGV[3]  how many tasks may wait in the queue, 0 for any number
-- ARGV[4]  the claim as JSON, the `tasks` it makes known and the fingerprint of the `body`; "" for none
-- ARGV[5]  seconds after which a request that has not said that its message is out has failed to send it
-- ARGV[6]  the record of the task as JSON;  ARGV[7..]  the records of those that follow
--
-- Returns {verdict, ids…}: "new"; "known", the task was registered before; "full", the queue is, or "full?"
-- if nothing was added for so long that no message is on its way, so that its broker can be asked;
-- "earlier", another request has made the same claim, for the tasks with these ids; "sending", it has not
-- said yet whether it could publish them; "reused", it had another body.
--
-- A queue is worked off in the order of the numbers, so the numbers between `started` and a task's own
-- tell how many are ahead of it, and those between `started` and `last` how many wait. Both hold for any
-- broker, without asking it, and are taken and compared here in one step.

local function set(key, record)
    local seconds = tonumber(ARGV[1])
    if seconds > 0 then
        redis.call('SET', key, record, 'EX', seconds)
    else
        redis.call('SET', key, record)
    end
end

local function number()
    redis.call('HSET', KEYS[3], 'at', redis.call('TIME')[1])
    return redis.call('HINCRBY', KEYS[3], 'last', 1)
end

-- What is stored, if it is what this extension stores.
local function decode(text)
    local readable, value = pcall(cjson.decode, text or '')
    return readable and type(value) == 'table' and value
end

local function seconds_now()
    local time = redis.call('TIME')
    return time[1] + time[2] / 1000000
end

-- The answer to a request that makes the same claim as an earlier one; nil if that one came to nothing.
local function answer_of(earlier, claim)
    local prefix = string.sub(KEYS[2], 1, -1 - #claim.tasks[1])
    local text = redis.call('GET', prefix .. earlier.tasks[1])
    if not text then
        return nil -- expired, or deleted
    elseif earlier.body ~= claim.body then
        return {'reused'}
    end
    local record = decode(text)
    if not earlier.since or not record or record.attempt or record.ended then
        return {'earlier', unpack(earlier.tasks)}
    elseif seconds_now() - earlier.since < tonumber(ARGV[5]) then
        return {'sending'}
    end
    -- Redis or the web server failed between this step and the publishing. Nobody was told of that task:
    -- should its message be out after all, it is not run.
    record.cancelled = record.submitted
    record.ended = record.submitted
    redis.call('SET', prefix .. earlier.tasks[1], cjson.encode(record), 'KEEPTTL')
    return nil
end

local claim = ARGV[4] ~= '' and cjson.decode(ARGV[4])
if claim then
    local earlier = decode(redis.call('GET', KEYS[4]))
    local answer = earlier and answer_of(earlier, claim)
    if answer then
        return answer
    end
end

local most = tonumber(ARGV[3])
if most > 0 then
    local counts = redis.call('HMGET', KEYS[3], 'last', 'started', 'at')
    if tonumber(counts[1] or 0) - tonumber(counts[2] or 0) >= most then
        local unchanged = seconds_now() - tonumber(counts[3] or 0)
        return {unchanged > tonumber(ARGV[5]) and 'full?' or 'full'}
    end
end

if claim then
    claim.since = seconds_now()
    set(KEYS[4], cjson.encode(claim))
end
for i = 5, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        set(KEYS[i], ARGV[i + 2])
    end
end

local record = decode(redis.call('GET', KEYS[2]))
local new = cjson.decode(ARGV[6])
if record and not record.ended then
    -- A retry, a task that was registered as a follower, or one that replaces itself.
    record.eta = nil
    for field, value in pairs(new) do
        if field ~= 'submitted' then
            record[field] = value
        end
    end
    record.number = number()
    set(KEYS[2], cjson.encode(record))
    return {'known'}
end
if record and ARGV[2] == '1' then
    return {'known'} -- cancelled before its turn, or at the moment it was to be tried again
end
-- New, or an id whose task has ended and that is submitted once more on purpose.
new.number = number()
redis.call('DEL', KEYS[1])
set(KEYS[2], cjson.encode(new))
return {'new'}
