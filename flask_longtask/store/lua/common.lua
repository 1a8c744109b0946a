-- The beginning of every script: what Redis calls need. ARGV[1] is a JSON object of options, including `prefix` and `documents` (keys.py
-- lists every key). Times are seconds since 1970 by this server's clock.

local options = cjson.decode(ARGV[1])
local time = redis.call('TIME')
-- cjson writes 14 digits of a number: a time that a caller gets is the one that is stored.
local now = time[1] + math.floor(time[2] / 100) / 10000

local function key(name, of)
    return options.prefix .. name .. (of and ':' .. of or '')
end

local function decode(text)
    local readable, value = pcall(cjson.decode, text or '')
    return readable and type(value) == 'table' and value or nil
end

-- Returns the stored object, or nil if there is none: no key, a key of another type, text that is not JSON.
local function load(name)
    local text = redis.pcall('GET', name)
    return type(text) == 'string' and decode(text) or nil
end

-- Puts something into a key, and replaces one of another type. This must not fail: the script has written already.
-- Returns what the command returns.
local function put(command, name, ...)
    local added = redis.pcall(command, name, ...)
    if type(added) == 'table' and added.err then
        redis.call('DEL', name)
        added = redis.call(command, name, ...)
    end
    return added
end

-- Puts an item in front of a list, and keeps only its first `most` items.
local function push(list, most, item)
    if put('LPUSH', list, item) > most then
        redis.call('LTRIM', list, 0, most - 1)
    end
end

-- Appends to a list, and keeps only its last `most` items.
local function append(list, most, ...)
    if put('RPUSH', list, ...) > most then
        redis.call('LTRIM', list, -most, -1)
    end
end

local function ring(queue)
    push(key('bell', queue), 100, 1)
    redis.call('EXPIRE', key('bell', queue), 60)
end
