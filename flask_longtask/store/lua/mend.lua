-- Removes what stands at a key of ours and is of another type than all scripts expect there. What the key held before is
-- gone already, and is written anew.
--
-- options: kinds   the type of each key that there is one of
--          queued  the same for those that each queue has one of
--          owned   the same for those that each worker has one of
--
-- Returns the keys that were removed.

local removed = {}
local function mend(name, kind)
    local found = redis.call('TYPE', name).ok
    local is_right = found == kind or found == 'none'
    if kind == 'number' and found == 'string' then
        -- A time, or a count: such as INCR takes.
        local text = redis.call('GET', name)
        is_right = #text < 20 and string.find(text, '^%d+%.?%d*$') and (name ~= key('number') or #text < 16)
            and (name ~= key('number') or string.find(text, '^%d+$')) and true or false
    end
    if not is_right then
        redis.call('DEL', name)
        table.insert(removed, name)
    end
end

for name, kind in pairs(options.kinds) do
    mend(key(name), kind)
end
for _, queue in ipairs(redis.call('HKEYS', key('queues'))) do
    for name, kind in pairs(options.queued) do
        mend(key(name, queue), kind)
    end
end
for _, worker in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    for name, kind in pairs(options.owned) do
        mend(key(name, worker), kind)
    end
end
return removed
