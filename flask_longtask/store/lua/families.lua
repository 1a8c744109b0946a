-- Families: the record of each counts its parts (families.py). For scripts that change tasks; comes after records.lua.

-- The order in which the parts of a family are listed, by their phases.
local RANKS = {failed = 0, running = 1, waiting = 2, cancelled = 3, succeeded = 4}

local function phase_of(record)
    if not record.ended then
        return record.running and record.left and 'running' or 'waiting'
    elseif record.cancelled or record.state == 'REVOKED' then
        return 'cancelled'
    elseif record.state == 'SUCCESS' then
        return 'succeeded'
    end
    -- A task that was to follow one that has failed was never sent.
    return (record.nonce or record.attempt) and 'failed' or 'cancelled'
end

-- How much of a task was done at its last report: 0 to 1, or nil.
local function done_of(record)
    local progress = decode(record.progress) or {}
    local current, total = tonumber(progress[1]), tonumber(progress[2])
    local done = current and total and current / total
    return done and done >= 0 and done <= 1 and done or nil -- not for NaN either
end

-- Makes a record that of a family, too. `kind` is nil for a task with children.
local function open_family(record, kind)
    record.parts = {total = 0, share = 0, kind = kind, generation = redis.call('INCR', key('number'))}
    for _, phase in ipairs(PHASES) do
        record.parts[phase] = 0
    end
end

local function close_family(name, family, state)
    local parts = family.parts
    parts.state, parts.ended, parts.final = state, now, parts.share
    if not family.task then -- a group, whose record is not that of a task
        family.ended, family.state = now, state
    end
    list_ended(name, family)
end

-- Ends a family that has succeeded, or cannot succeed any more.
local function end_family(name, family)
    local parts = family.parts
    if parts.ended or parts.incomplete then
        return
    elseif parts.culprit then
        close_family(name, family, 'FAILURE')
    elseif parts.succeeded == parts.total then
        close_family(name, family, 'SUCCESS')
    end
end

local function list_part(name, id, record)
    local place = RANKS[record.phase] * 1e7 + record.part
    put('ZADD', key('parts', name), place, id)
end

-- Counts a part that is in another phase than before.
local function count_phase(name, parts, id, record, phase)
    if record.phase then
        parts[record.phase] = parts[record.phase] - 1
    end
    parts[phase] = parts[phase] + 1
    record.phase = phase
    list_part(name, id, record)
    if record.started then
        parts.started = math.min(parts.started or record.started, record.started)
    end
    if phase == 'running' then
        parts.latest = record.task
    elseif (phase == 'failed' or phase == 'cancelled') and not parts.culprit then
        parts.culprit = {
            number = record.part, task = record.task, phase = phase, state = record.state,
            error = record.error or options.error, unsent = record.unsent,
        }
    end
end

-- Counts a task in its family. A task may be a part of the family that its own record stands for.
local function count_in_family(id, record)
    local name = record.family
    local family = name == id and record or name and load_family(name)
    local parts = family and family.parts
    -- The id of a family may be that of another one by now.
    if not parts or parts.generation ~= record.generation then
        return
    end
    local phase = phase_of(record)
    local share = phase == 'succeeded' and 1000 or math.floor(1000 * (done_of(record) or 0))
    local waits_anew = phase == 'waiting' and record.queue
        and (parts.queue ~= record.queue or parts.eta ~= record.eta)
    if phase == record.phase and share == record.share and not waits_anew then
        return
    end
    if waits_anew then
        parts.queue, parts.eta = record.queue, record.eta
    end
    parts.queue = parts.queue or record.queue
    parts.share = parts.share + share - (record.share or 0)
    record.share = share
    if phase ~= record.phase then
        count_phase(name, parts, id, record, phase)
    end
    parts.reported = now
    end_family(name, family)
    if name ~= id then
        write_record(name, family)
        local state = parts.state or parts.started and 'STARTED' or 'PENDING'
        redis.call('PUBLISH', options.documents .. name, cjson.encode({status = state, task_id = name}))
    end
end

local function save_record(id, record)
    count_in_family(id, record)
    write_record(id, record)
end

-- Makes a task a part of a family, and saves both records: counting the task for the first time saves the family.
local function join_family(name, family, id, record)
    local parts = family.parts
    parts.total = parts.total + 1
    if parts.kind then
        parts.task = (parts.total == 1 or parts.task == record.task) and record.task or parts.kind
    end
    record.family, record.generation, record.part = name, parts.generation, parts.total
    record.phase, record.share = nil, nil
    save_record(id, record)
end
