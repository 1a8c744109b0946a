-- Keeps lines that an attempt has logged. Sending the same lines twice keeps them once.
--
-- ARGV[2…]  the lines, each as the rest of a JSON list that begins with the line's number
-- options:  id
--           attempt, nonce  the attempt, which must be the present one
--           before          how many lines of this attempt came before these; those between may be missing
--           most            how many lines of a task are kept
--
-- Returns {outcome, now}: "stored", "superseded" if another attempt has the task, or "unknown" if there is no record.

refuse_if_full()
local id = options.id
local record = load_record(id)

local function answer(outcome)
    return {outcome, string.format('%.6f', now)}
end

if not record then
    return answer('unknown')
elseif record.attempt ~= options.attempt or (record.nonce_of_run or options.nonce) ~= options.nonce then
    return answer('superseded')
end

-- A line's number counts those of the earlier attempts, too.
local number = (record.lines_before or 0) + options.before
local lines = {}
for i = 2, #ARGV do
    number = number + 1
    if number > (record.lines or 0) then
        table.insert(lines, string.format('[%.0f,%s]', number, ARGV[i]))
    end
end
if #lines == 0 then
    return answer('stored')
end
append(key('lines', id), options.most, unpack(lines))
record.lines = number
if record.running then
    record.reported = now -- it is not silent
end
if not record.ended then
    save_record(id, record)
else
    -- A cancelled task that runs on. What is kept of it expires with its record.
    redis.call('SET', key('task', id), cjson.encode(record), 'KEEPTTL')
    local left = redis.call('PTTL', key('task', id))
    if left > 0 then
        redis.call('PEXPIRE', key('lines', id), left)
    end
end
return answer('stored')
