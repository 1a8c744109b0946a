-- Removes keys of ours that have another type than the scripts expect. What they held before is gone already, and will
-- be written anew.
--
-- options: kinds   the type of each single key
--          queued  the type of each key that every queue has
--          owned   the type of each key that every worker has
--
-- Returns the keys that were removed.

local removed = {}

-- The maximum length and the pattern of strings that hold a number. INCR fails for anything but an integer.
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
