-- Records the outcome of sending the message of a task that accept.lua has recorded: another broker has it, or this is
-- unknown. In the latter case the task never runs, and its record stays as a tombstone.
--
-- options: id, nonce (of the call of accept.lua), sent
-- Returns {now, whether the record was changed}.

local record = load_record(options.id)
-- A running task was sent before, unless this is the message of its retry.
local has_begun = record and record.running and not (record.resent and options.sent)
if not record or record.nonce ~= options.nonce or record.ended or has_begun then
    return {string.format('%.6f', now), 0}
end
if options.sent then
    redis.call('ZREM', key('sending'), options.id)
    if record.sending then
        record.sending = nil
        join_queue(options.id, record)
        save_record(options.id, record)
    end
else
    bury(options.id, record)
end
return {string.format('%.6f', now), 1}
