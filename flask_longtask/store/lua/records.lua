-- Records: how they are loaded, listed and written. For scripts that change tasks; comes after common.lua.

-- Removes fields of the wrong type, so that a task goes on whatever was stored instead of its record.
local function mend(record)
    local types = {
        queue = 'string', worker = 'string', claim = 'string', nonce = 'string', nonce_of_run = 'string',
        attempt = 'number', lost = 'number', score = 'number', eta = 'number', submitted = 'number',
        started = 'number', resumed = 'number', resumed_at = 'number', checkpoint = 'number',
        progress = 'string', running = 'number', resent = 'number', cancelled = 'number', ended = 'number',
        attempt_ended = 'number', outcome = 'string', reported = 'number', stalled = 'number', error = 'string',
        lines = 'number', lines_before = 'number', sending = 'number', unsent = 'number',
        result_bytes = 'number', left = 'nil', family = 'string', part = 'number', generation = 'number',
        phase = 'string', share = 'number', parts = 'nil', restartable = 'number', restart_of = 'string',
    }
    for field, its_type in pairs(types) do
        if type(record[field]) ~= its_type then
            record[field] = nil
        end
    end
end

local PHASES = {'waiting', 'running', 'succeeded', 'failed', 'cancelled'}

local function is_family(parts)
    local are_numbers = type(parts) == 'table' and type(parts.total) == 'number' and type(parts.share) == 'number'
    for _, phase in ipairs(PHASES) do
        are_numbers = are_numbers and type(parts[phase]) == 'number'
    end
    return are_numbers
end

local function load_record(id)
    local record = load(key('task', id))
    if record and record.format ~= 1 then
        mend(record) -- not written by these scripts
    end
    if record and record.parts and not is_family(record.parts) then
        record.parts = nil
    end
    return record
end

-- When the task or, of a family, the last of its parts has ended; nil while it is open.
local function end_of(record)
    if record.parts then
        return record.parts.ended
    end
    return record.ended
end

-- Whether the lists of open and of ended tasks name this task. They name a family, and not its parts.
local function is_listed(id, record)
    return not record.family or record.family == id
end

local function list_open(id, record)
    if is_listed(id, record) then
        redis.call('ZADD', key('open'), record.submitted or now, id)
    end
end

local function list_ended(id, record)
    if not (record.task or record.queue or record.parts) then
        return -- a chord as a step of a chain, which Celery ends like a task; it was never sent
    end
    if is_listed(id, record) and not end_of(record) then
        return
    end
    redis.call('ZREM', key('open'), id)
    if is_listed(id, record) then
        redis.call('ZADD', key('ended'), end_of(record), id)
        -- Not the last thousand alone: the parts of a large group may end before they are registered as its parts.
        redis.call('ZREMRANGEBYRANK', key('ended'), 0, -20001)
    end
end

-- What is kept of a task besides its record, which exists and expires with it.
local function keys_beside(id)
    return {key('attempts', id), key('lines', id), key('arguments', id), key('parts', id)}
end

-- The families that this script has loaded or written last, so that each is loaded once.
local families = {}

local function load_family(name)
    families[name] = families[name] or load_record(name)
    return families[name]
end

-- Seconds after which a family is forgotten whose registration was broken off. No client knows it yet.
local INCOMPLETE = 600

-- An open task never expires, nor does an open family. The time to live of a record begins at the end.
local function write_record(id, record)
    record.format = 1
    families[id] = record.parts and record
    local text = cjson.encode(record)
    local parts, expires = record.parts, options.expires
    if parts and parts.incomplete then
        expires = INCOMPLETE
    elseif not (record.ended and end_of(record) and expires > 0) then
        redis.call('SET', key('task', id), text)
        return
    end
    redis.call('SET', key('task', id), text, 'EX', expires)
    -- Most tasks have none of these.
    if (record.attempt or 0) > 1 or record.lines or record.restartable or parts then
        for _, name in ipairs(keys_beside(id)) do
            redis.call('EXPIRE', name, expires)
        end
    end
end
