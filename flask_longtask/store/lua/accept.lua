-- Accepts a task in one step: checks its idempotency key and the bound of its queue, records it, and pushes its
-- message. There is never a record without a message, or a message without a record.
--
-- KEYS[1] Celery's document of the task
-- ARGV[2] the message; "" where another broker keeps the messages: the sender sends it next, and then confirms it
-- ARGV[3] what is needed to start the task again; "" if it cannot be
-- options:
--   id, record       the task's id, and its record, with its `queue`
--   followers        records of the tasks that follow it in a chain or chord, by their ids
--   renews           whether followers that have ended are tasks of an earlier start, with the same ids
--   nonce            identifies this call, which may arrive twice: redis-py sends it again when the answer is lost
--   lists, list      the queue's lists of messages by priority, and the number of the one to push to
--   most_waiting     how many tasks may wait in the queue; 0 for any number
--   not_after        the time after which the caller has given up, and this script must do nothing
--   sender           the running task that sends it: a retry of itself, or the next step of its chain, for instance
--   parent           the running task whose family the new task joins
--   browser          the list of the browser that starts it: its `name`, the `most` tasks and `seconds` that it is kept
--   claim            the idempotency key: its `name`, the fingerprint of the `body`, the `tasks` it stands for
--   sending_seconds  how long a message may take to be sent
--
-- Returns {outcome, now, …}: "accepted", the record and how many tasks are ahead; "earlier" and the ids of the
-- tasks that the key stands for, or of the open task of this id; "reused", "busy", "full", "late" or "ended".

local id, new, queue = options.id, options.record, options.record.queue
local pushes = ARGV[2] ~= ''

local function answer(outcome, ...)
    return {outcome, string.format('%.6f', now), ...}
end

local function accepted(record)
    local ahead = redis.call('ZRANK', key('waiting', queue), id)
    return answer('accepted', cjson.encode(record), ahead or 0)
end

local function keep_claim(claim, task, ids)
    local text = cjson.encode({body = claim.body, tasks = ids})
    if not task.claim then
        task.claim = claim.name
        redis.call('SET', key('claim', claim.name), text)
    elseif options.expires > 0 then -- the other key's expires with the task
        redis.call('SET', key('claim', claim.name), text, 'EX', options.expires)
    end
end

-- Begins the life of a task, without what an earlier one with its id has left.
local function begin(name, earlier, task)
    if earlier then
        stop_running(name, earlier) -- a cancelled task may run on, but its reports are refused from now on
    end
    task.submitted = now
    redis.call('DEL', options.documents .. name, unpack(keys_beside(name)))
end

local function add_to_browser(browser)
    local list = key('browser', browser.name)
    push(list, browser.most, id)
    redis.call('EXPIRE', list, browser.seconds)
end

refuse_if_full()
local record = load_record(id)
if record and record.nonce == options.nonce then
    if record.sending and not record.ended then
        redis.call('ZADD', key('sending'), now, id) -- sending is retried
    end
    return accepted(record)
end
if options.not_after and now > options.not_after then
    return answer('late')
end

local claim = options.claim
if claim then
    local earlier = load(key('claim', claim.name))
    local known = earlier and type(earlier.tasks) == 'table' and type(earlier.tasks[1]) == 'string'
    local first = known and load_record(earlier.tasks[1])
    -- Whether its first message is under way, and not that of a retry.
    local is_new = first and first.sending and not first.attempt
    if is_new and now - first.submitted > options.sending_seconds then
        -- The process that sent it has died since. If its message was sent after all, the task is not run.
        bury(earlier.tasks[1], first)
    end
    if first and not first.unsent then
        if earlier.body ~= claim.body then
            return answer('reused')
        elseif is_new then
            return answer('busy')
        end
        return answer('earlier', unpack(earlier.tasks))
    end
end

local is_sent = record and record.nonce and not record.sending
if is_sent and not record.ended and not options.sender then
    -- An id of the caller's own, whose task is still open: that task is the answer to this start, too.
    local ids = {id, unpack(followers_of(record))}
    if claim then
        keep_claim(claim, record, ids)
    end
    record.nonce = options.nonce -- whoever has given up on the first start must not end the task any more
    save_record(id, record)
    return answer('earlier', unpack(ids))
end

if options.most_waiting > 0 then
    local waiting = redis.call('ZCARD', key('waiting', queue))
    if pushes and waiting >= options.most_waiting then
        -- Tasks whose messages were purged must take no place, even before the audit finds them.
        local messages = 0
        for _, list in ipairs(options.lists) do
            messages = messages + redis.call('LLEN', list)
        end
        waiting = math.min(waiting, messages)
    end
    if waiting >= options.most_waiting then
        return answer('full')
    end
end

local sender = options.sender and load_record(options.sender)
if sender and sender.cancelled and record and not record.ended then
    for _, follower in ipairs(followers_of(sender)) do
        if follower == id then -- the task before it was cancelled, and has come to its end before it noticed
            record.cancelled = now
            finish(id, record)
            save_record(id, record)
        end
    end
end
if record and record.ended and options.sender then
    -- The task was cancelled before its turn, or when it was about to be retried. The worker that takes the message
    -- does not run the task, and ends the tasks that were to follow.
    if pushes then
        redis.call('LPUSH', options.lists[options.list], ARGV[2])
        ring(queue)
    end
    return answer('ended')
elseif record and not record.ended then
    -- A retry, a task that follows another, or one that replaces itself: it keeps its record.
    leave_queue(id, record)
    if record.task and record.task ~= new.task then
        redis.call('DEL', key('checkpoint', id)) -- of the task that it replaces
    end
    record.eta = nil
    record.resent = record.running
    for field, value in pairs(new) do
        record[field] = value
    end
else
    -- A new task, or the id of an ended one that is reused on purpose.
    begin(id, record, new)
    record = new
    if ARGV[3] ~= '' and not options.parent then
        redis.call('SET', key('arguments', id), ARGV[3])
        record.restartable = 1
    end
end

-- The new tasks join the family of their parent, or the parent becomes one.
local function join_parent(task, its_record)
    local parent = load_record(options.parent)
    local name = parent and parent.family or options.parent
    local family = load_family(name)
    if not family or its_record.family then
        return
    end
    if not family.parts then
        open_family(family)
        if family.cancelled then -- and has not noticed yet: its children must not start
            local parts = family.parts
            parts.stopped, parts.state, parts.ended = family.cancelled, 'REVOKED', family.cancelled
        end
        join_family(name, family, name, family)
    end
    join_family(name, family, task, its_record)
end

if options.parent and options.parent ~= id then -- the same for a task that replaces its parent
    join_parent(id, record)
end
for follower, follower_record in pairs(options.followers) do
    local its_earlier = load_record(follower)
    if not its_earlier or its_earlier.ended and options.renews then
        begin(follower, its_earlier, follower_record)
        save_record(follower, follower_record)
        if options.parent then
            join_parent(follower, follower_record)
        end
    end
end
if claim then
    keep_claim(claim, record, claim.tasks)
end

record.nonce = options.nonce
record.score = (options.list - 1) * 1e12 + redis.call('INCR', key('number'))
redis.call('HSET', key('queues'), queue, cjson.encode(options.lists))
list_open(id, record)
if options.browser then
    add_to_browser(options.browser)
end
if pushes then
    join_queue(id, record)
    redis.call('LPUSH', options.lists[options.list], ARGV[2])
    ring(queue)
else
    record.sending = 1
    record.left = nil
    redis.call('ZADD', key('sending'), now, id)
end
save_record(id, record)
return accepted(record)
