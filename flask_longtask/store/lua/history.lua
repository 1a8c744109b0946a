-- Reads the attempts at a task, and the lines that it has logged. Anybody may have written to these keys.
--
-- KEYS[1]  Celery's document of the task
-- options: id
--          after  the number of the last line that the caller knows
--          most   how many lines to return
--
-- Returns {whether there is such a task, the record, its earlier attempts, the lines after that one}, all as stored.

local function stored(command, name, ...)
    local value = redis.pcall(command, name, ...)
    return type(value) == 'table' and value.err and {} or value or ''
end

local text = stored('GET', key('task', options.id))
if type(text) ~= 'string' then
    text = ''
end
local record = decode(text) or {}
-- Greater numbers are those of an earlier task of this id.
local new = options.most
if type(record.lines) == 'number' and options.after <= record.lines then
    new = math.min(new, record.lines - options.after)
end
local lines = {}
if new > 0 then
    lines = stored('LRANGE', key('lines', options.id), -new, -1)
end
local is_known = text ~= '' or redis.call('EXISTS', KEYS[1]) == 1
return {is_known and 1 or 0, text, stored('LRANGE', key('attempts', options.id), -options.most, -1), lines}
