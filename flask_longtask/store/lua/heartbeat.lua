-- Records a worker's heartbeat: it is alive, serves its queues and holds its messages.
--
-- options:
--   worker, info  the worker's id, and what it reports about itself, as JSON
--   reserved      the tasks that it has received and not started, for a broker that keeps its own messages: all of them
--                 with `all_reserved`, else those since the last heartbeat
--   hold          seconds for which a heartbeat counts
--   lapse         seconds after its last heartbeat until a worker is taken for lost
--
-- Returns {now, auditor, new, lost workers…}: auditor is 1 for the one worker that looks for lost messages; new is 1
-- for a worker that was not known, or was taken for lost.

-- If no worker has reported for a while, Redis or all workers were away, and each worker gets time to come back.
local last = tonumber(redis.call('GET', key('heartbeat')) or 0) or 0
if now - last > math.min(options.hold, options.lapse / 2) or last > now + options.hold then
    redis.call('SET', key('calm'), now + options.hold)
end
redis.call('SET', key('heartbeat'), now)

local is_new = redis.call('ZADD', key('workers'), now, options.worker)
redis.call('HSET', key('worker-info'), options.worker, options.info)
if options.all_reserved then
    redis.call('DEL', key('reserved', options.worker))
end
for _, id in ipairs(options.reserved) do
    local record = load_record(id)
    local waits = record and (not record.running or record.resent) -- resent: it runs, and its retry waits
    if waits and not record.ended then
        redis.call('SADD', key('reserved', options.worker), id)
    end
end

local auditor = redis.call('GET', key('auditor'))
-- An auditor's key has a time to live. A key without one was written by something else, and is replaced.
local is_auditor = not auditor or auditor == options.worker or redis.call('TTL', key('auditor')) == -1
if is_auditor then
    redis.call('SET', key('auditor'), options.worker, 'EX', 5)
    -- The times of the heartbeats may have been deleted. Without one, a dead worker would never be found.
    for _, worker in ipairs(redis.call('HKEYS', key('worker-info'))) do
        redis.call('ZADD', key('workers'), 'NX', now, worker)
    end
end

local answer = {string.format('%.6f', now), is_auditor and 1 or 0, is_new}
local calm = tonumber(redis.call('GET', key('calm')) or 0) or 0
if not (calm > now and calm <= now + options.hold) then
    for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', now - options.lapse)) do
        if string.find(worker, '[\128-\255]') then
            redis.call('ZREM', key('workers'), worker) -- no worker has this name
        else
            table.insert(answer, worker)
        end
    end
end
return answer
