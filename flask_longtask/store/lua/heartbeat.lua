-- A worker's heartbeat: it lives, serves these queues and holds its messages.
--
-- options:
--   worker, info  its id, and what it says of itself, as JSON
--   reserved      the tasks it has received and not started, for a broker that keeps its own messages: those that
--                 came since the last heartbeat, or with `all_reserved` all of them
--   hold          seconds for which a heartbeat counts
--   lapse         seconds after its last heartbeat in which a worker is not yet taken for lost
--
-- Returns {now, auditor, new, lost workers…}: auditor is 1 for the one worker that looks for lost messages; new is 1 for
-- one that was not known, or was taken for lost.

-- Where no worker was heard of for a while, Redis was away, or all of them were, and each gets time to come back.
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
    local waits = record and (not record.running or record.resent) -- it runs, and its retry waits
    if waits and not record.ended then
        redis.call('SADD', key('reserved', options.worker), id)
    end
end

local auditor = redis.call('GET', key('auditor'))
-- What stays for ever is nobody's: whoever is the auditor says so anew.
local is_auditor = not auditor or auditor == options.worker or redis.call('TTL', key('auditor')) == -1
if is_auditor then
    redis.call('SET', key('auditor'), options.worker, 'EX', 5)
    -- Were the times of the heartbeats deleted, a dead worker would be lost without a trace.
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
