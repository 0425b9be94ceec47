-- uses: common_sign common_held
-- ARGV: P client groups verify src dest tag kind header json dedupe_ms
--       max_messages max_bytes msgexp grave
-- The message itself is stored first: that is refused if there is no memory.
-- Answers also whether it came before, and was not stored again.

local client, groups, verify = ARGV[2], ARGV[3], ARGV[4] == '1'
local src, dest, tag, request = ARGV[5], ARGV[6], ARGV[7], ARGV[8] == 'request'
local json, age = ARGV[10], tonumber(ARGV[11])
local messages, bytes = tonumber(ARGV[12]), tonumber(ARGV[13])
local msgexp, grave = tonumber(ARGV[14]), tonumber(ARGV[15])

-- An open request ends by another name, so that the leader, who is told of it,
-- knows that nothing is left to do; a Python exchange deletes it.

local function finish(uid, tag)
    local nothing = P .. 'academy:nothing'

    if redis.pcall('RENAME', P .. 'request:' .. uid .. ':' .. tag, nothing).err
    then
        return false
    end

    call('DEL', nothing)

    return true
end

local queue = P .. 'queue:' .. dest
local seen = P .. 'academy:seen:' .. src .. ':' .. dest .. ':' .. tag .. ':'
             .. ARGV[8]
local v = call('MGET', P .. 'active:' .. dest, P .. 'owner:' .. dest,
               P .. 'active:' .. src, P .. 'owner:' .. src,
               P .. 'heartbeat:' .. src, P .. 'academy:held:' .. dest, seen)
local code = open(dest, v[1], v[2], client, groups)

if code == FORBIDDEN then
    return { FORBIDDEN }
end

-- the figures and the heartbeat of another one are not this caller's to move

local known = v[3]

if known and not permitted(src, v[4], client, groups) then
    if verify then
        return { FORBIDDEN }
    end

    known = false
end

if code ~= OK then
    return { code }
end

if age > 0 and v[7] then
    if known == 'ACTIVE' then
        unbound()
        sign(src, v[5], now(), grave)
    end

    return { OK, 1 }
end

local leased, size = held_read(v[6])

if messages > 0 or bytes > 0 then
    local n = leased + call('LLEN', queue)

    if messages > 0 and n >= messages then
        return { 6 }
    end

    if n == 0 then
        size = 0
    end

    if bytes > 0 and size + #json > bytes then
        return { 7 }
    end
end

local n = call('RPUSH', queue, json)

if n == 1 then
    expire(queue, msgexp)
end

if v[6] or messages > 0 or bytes > 0 then
    if n == 1 and leased == 0 then
        size = 0
    end

    held_write(dest, leased, size + #json, grave)
end

local time = now()

if request then
    local requests = P .. 'academy:requests:' .. dest
    local second = math.floor(time)

    set(P .. 'request:' .. dest .. ':' .. tag, ARGV[9], msgexp)
    call('ZADD', requests, msgexp > 0 and second + msgexp or '+inf', tag)
    expire(requests, math.max(msgexp, grave))

    -- of what has expired, now and then some go

    if string.sub(tag, 1, 1) == '0' then
        local late = call('ZRANGEBYSCORE', requests, '-inf', '(' .. second,
                          'LIMIT', 0, 40)
        if #late > 0 then
            call('ZREM', requests, unpack(late))
        end
    end

    if known and call('INCR', P .. 'outgoing:' .. src) == 1 then
        expire(P .. 'outgoing:' .. src, grave)
    end

elseif known and finish(src, tag) then
    call('ZREM', P .. 'academy:requests:' .. src, tag)

    if call('INCR', P .. 'completions:' .. src) == 1 then
        expire(P .. 'completions:' .. src, grave)
    end
end

if age > 0 then
    call('SET', seen, '', 'PX', age)
end

if known == 'ACTIVE' then
    sign(src, v[5], time, grave)
end

renew(dest, grave)

return { OK, 0 }
