-- Forgets a worker that is lost or has stopped. The tasks that it ran wait again, and until they start, their records
-- say that their worker was lost.
--
-- options: worker
--
-- Returns 1, or 0 if the worker holds messages again since they were handed back. The caller must first hand these
-- back: the audit does not see messages that an unknown worker holds.

local worker = options.worker
if redis.call('HLEN', key('held', worker)) > 0 then
    return 0
end
local last_beat = tonumber(redis.call('ZSCORE', key('workers'), worker) or nil)
for _, id in ipairs(redis.call('SUNION', key('running', worker), key('unheld', worker))) do
    local record = load_record(id)
    if record and record.running and record.worker == worker then
        if record.ended then
            -- A cancelled task that ran on no longer runs.
            record.running = nil
            redis.call('SET', key('task', id), cjson.encode(record), 'KEEPTTL')
        elseif record.resent then
            -- The task was sent again, and waits by that message.
            end_attempt(record, 'retry')
            stop_running(id, record)
            redis.call('DEL', options.documents .. id)
            save_record(id, record)
        else
            -- It may have been dead for long, if it was the only worker.
            end_attempt(record, 'worker lost', nil, last_beat and math.max(last_beat, record.started or 0))
            join_queue_in_front(id, record)
            save_record(id, record)
        end
    end
end
redis.call('DEL', key('running', worker), key('unheld', worker), key('reserved', worker))
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('worker-info'), worker)
return 1
