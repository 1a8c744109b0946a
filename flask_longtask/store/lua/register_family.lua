local name = options.id

refuse_if_full()
local first = load_record(options.parts[1])
local earlier = first and first.family and load_family(first.family)
if earlier and earlier.parts and earlier.parts.kind then
    name = first.family -- the start was repeated, or these are not the first parts
end

local family = load_family(name) or first and {submitted = first.submitted, owner = options.owner}
if family and not (family.parts and family.parts.kind) then
    if not family.parts then
        open_family(family, options.kind)
    end
    -- The last task of a chain may have started children already.
    local parts = family.parts
    parts.kind, parts.task, parts.incomplete = options.kind, options.kind, 1
    parts.state, parts.ended = nil, nil
    write_record(name, family)
end

local function join(id, record)
    redis.call('ZREM', key('open'), id)
    redis.call('ZREM', key('ended'), id)
    join_family(name, family, id, record)
end

-- Adds a task, and the children that it has started already.
local function add(id)
    local record = id == name and family or load_record(id)
    if not record or record.family == name then
        return record
    end
    local children = {}
    if record.family == id then
        children = redis.call('ZRANGE', key('parts', id), 0, -1)
        redis.call('DEL', key('parts', id))
        record.parts = nil
    end
    if id == name then
        join_family(name, family, id, family)
    else
        join(id, record)
    end
    for _, child in ipairs(children) do
        local its_record = child ~= id and load_record(child)
        if its_record then
            join(child, its_record)
        end
    end
    return record
end

for _, id in ipairs(options.parts) do
    local record = add(id)
    if not record then
        return {'unknown', id}
    end
    for _, follower in ipairs(options.follow and followers_of(record) or {}) do
        add(follower)
    end
end

if options.last and family.parts.incomplete then
    family.parts.incomplete, family.parts.steps = nil, family.parts.total
    redis.call('PERSIST', key('parts', name))
    list_open(name, family)
    end_family(name, family)
    write_record(name, family)
end
return {'registered', name, cjson.encode(family)}
