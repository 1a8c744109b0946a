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

-- Appends to a list, and keeps only its last items. This must not fail: the script has written already.
local function append(list, most, ...)
    local appended = redis.pcall('RPUSH', list, ...)
    if type(appended) == 'table' and appended.err then
        redis.call('DEL', list) -- not a list
        redis.call('RPUSH', list, ...)
    end
    redis.call('LTRIM', list, -most, -1)
end

local function ring(queue)
    -- The message has been pushed already, so this must not fail.
    local rung = redis.pcall('LPUSH', key('bell', queue), 1)
    if type(rung) == 'table' and rung.err then
        redis.call('DEL', key('bell', queue))
        redis.call('LPUSH', key('bell', queue), 1)
    end
    redis.call('LTRIM', key('bell', queue), 0, 99)
    redis.call('EXPIRE', key('bell', queue), 60)
end
