-- Removes what stands at a key of ours and is of another type than all scripts expect there. What the key held before is
-- gone already, and is written anew.
--
-- options: kinds   the type of each key that there is one of
--          queued  the same for those that each queue has one of
--          owned   the same for those that each worker has one of
--
-- Returns the keys that were removed.

local removed = {}

-- Of strings that hold a number: how long they may be, and how they read. INCR takes no others for an integer.
local numbers = {integer = {15, '^%d+$'}, time = {19, '^%d+%.?%d*$'}}

local function is_right(name, kind)
    local found, number = redis.call('TYPE', name).ok, numbers[kind]
    if found == 'string' and number then
        local text = redis.call('GET', name)
        return #text <= number[1] and string.find(text, number[2])
    end
    return found == kind or found == 'none'
end

local function mend(name, kind)
    if not is_right(name, kind) then
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
