-- A worker is lost, or has stopped. What it ran waits again; its record says until then that its worker was lost.
--
-- options: worker
--
-- Returns 1, or 0 if it has come to hold a message since they were handed back, so that these are to be handed back once
-- more: messages that nobody known holds would be missed by the audit.

local worker = options.worker
if redis.call('HLEN', key('held', worker)) > 0 then
    return 0
end
for _, id in ipairs(redis.call('SUNION', key('running', worker), key('unheld', worker))) do
    local record = load_record(id)
    if record and record.running and record.worker == worker then
        if record.ended then
            -- A cancelled task that ran on does so no more.
            record.running = nil
            redis.call('SET', key('task', id), cjson.encode(record), 'KEEPTTL')
        elseif record.resent then
            -- It was sent again, and waits as that has it.
            stop_running(id, record)
            redis.call('DEL', options.documents .. id)
            save_record(id, record)
        else
            join_queue_in_front(id, record)
            save_record(id, record)
        end
    end
end
redis.call('DEL', key('running', worker), key('unheld', worker), key('reserved', worker))
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('worker-info'), worker)
return 1
