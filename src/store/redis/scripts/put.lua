-- uses: common_sign common_held
-- ARGV: P client groups ids header json dedupe_ms msgexp grave limits after
-- before ends
-- ids: whether the source is verified, 1, and whether the mailbox's requests
-- that have expired go, 2; q or r for a request or a response, src, dest and
-- tag; all of the same length.  limits: of messages and bytes, or
-- empty.  A sign of life between after and before is one of a moment ago; ends:
-- when the request expires; all three in seconds, as the caller knows the time,
-- and empty if it does not.
--
-- The first that is stored is refused if there is no memory.  Answers also
-- whether it came before, and was not stored again.
--
-- Where somebody waits for it, and nothing is in the queue before it, a message
-- is handed over: it is leased to that one's node, and sent to it.  If nobody
-- is there it goes to the queue after all.
--
-- Most messages are of an owner of both mailboxes, without limits, and come
-- where somebody waits and both gave a sign of life a moment ago.  For those no
-- function is made, and no number: all of that takes longer than it does.

local call, P, OK, ids, json = redis.call, ARGV[1], 0, ARGV[4], ARGV[6]
local src, dest = string.sub(ids, 3, 38), string.sub(ids, 39, 74)
local tag, request = string.sub(ids, 75), string.sub(ids, 2, 2) == 'q'

local queue = P .. 'queue:' .. dest
local seen = P .. 'academy:seen:' .. string.sub(ids, 2)
local v = call('MGET', P .. 'active:' .. dest, P .. 'owner:' .. dest,
               P .. 'active:' .. src, P .. 'owner:' .. src,
               P .. 'academy:held:' .. dest, P .. 'academy:waits:' .. dest,
               P .. 'heartbeat:' .. src, P .. 'heartbeat:' .. dest, seen)
local known, waits, mine = v[3], v[6], ARGV[2] .. '_'
local ends, after = ARGV[13], nil

if not waits or v[1] ~= 'ACTIVE' or v[2] ~= mine or known ~= 'ACTIVE'
   or v[4] ~= mine or v[5] or ARGV[10] ~= '' or not v[7] or not v[8]
   or v[7] <= ARGV[11] or v[7] >= ARGV[12]
   or v[8] <= ARGV[11] or v[8] >= ARGV[12]
then
    -- the common parts

    local time, grave = now(), tonumber(ARGV[9])

    ends = ARGV[8] == '0' and '+inf' or math.floor(time) + ARGV[8]

    local code = open(dest, v[1], v[2], ARGV[2], ARGV[3])

    if code == FORBIDDEN then
        return { FORBIDDEN }
    end

    -- the figures and the heartbeat of another one are not this caller's

    if known and not permitted(src, v[4], ARGV[2], ARGV[3]) then
        if string.sub(ids, 1, 1) % 2 == 1 then
            return { FORBIDDEN }
        end

        known = false
    end

    if code ~= OK then
        return { code }
    end

    local leased, size = held_read(v[5])
    local messages, bytes = string.match(ARGV[10], '(%d+) (%d+)')

    after = function (n)
        if known == 'ACTIVE' then
            sign(src, v[7], time, grave)
        end

        if n == 0 then
            sign(dest, v[8], time, grave)
        elseif n then
            renew(dest, grave)
        end

        if n and (v[5] or messages) then
            if n <= 1 and leased == 0 then
                size = 0
            end

            held_write(dest, leased + (n == 0 and 1 or 0), size + #json, grave)
        end
    end

    if v[9] and ARGV[7] ~= '0' then
        unbound()

    elseif messages then
        local n = leased + call('LLEN', queue)

        messages, bytes = tonumber(messages), tonumber(bytes)

        if messages > 0 and n >= messages then
            return { 6 }
        end

        if bytes > 0 and (n == 0 and 0 or size) + #json > bytes then
            return { 7 }
        end
    end
end

if v[9] and ARGV[7] ~= '0' then
    if after then
        after()
    end

    return { OK, 1 }
end

local n, id = 0, nil

if waits and #json <= 8192 then
    n = call('RPUSHX', queue, json)

    if n == 0 then
        local handed = P .. 'academy:handed:' .. string.sub(waits, 1, 32)

        id = call('XADD', handed, 'NOMKSTREAM', '*',
                  dest .. string.sub(waits, 33, 53) .. ARGV[8], json)

        local told = id and redis.pcall('PUBLISH', string.sub(waits, 54),
                                        (request and '?' or '!') .. dest
                                        .. id .. ' ' .. json)

        if type(told) ~= 'number' or told == 0 then
            if id then
                call('XDEL', handed, id)
                id = nil
            end

            call('DEL', P .. 'academy:waits:' .. dest)
        end
    end
end

if n == 0 and not id then
    n = call('RPUSH', queue, json)

    if n == 1 and ARGV[8] ~= '0' then
        call('EXPIRE', queue, ARGV[8])
    end
end

if request then
    local requests = P .. 'academy:requests:' .. dest

    call('ZADD', requests, ends, tag)

    if ARGV[8] == '0' then
        call('SET', P .. 'request:' .. dest .. ':' .. tag, ARGV[5])

        if ARGV[9] ~= '0' then
            call('EXPIRE', requests, ARGV[9])
        end
    else
        call('SET', P .. 'request:' .. dest .. ':' .. tag, ARGV[5], 'EX',
             ARGV[8])

        local longer = #ARGV[8] > #ARGV[9]
                       or #ARGV[8] == #ARGV[9] and ARGV[8] > ARGV[9]

        call('EXPIRE', requests, longer and ARGV[8] or ARGV[9])
    end

    if string.sub(ids, 1, 1) >= '2' then
        local late = call('ZRANGEBYSCORE', requests, '-inf',
                          '(' .. call('TIME')[1], 'LIMIT', 0, 40)
        if #late > 0 then
            call('ZREM', requests, unpack(late))
        end
    end

    if known and call('INCR', P .. 'outgoing:' .. src) == 1
       and ARGV[9] ~= '0'
    then
        call('EXPIRE', P .. 'outgoing:' .. src, ARGV[9])
    end

elseif known and call('DEL', P .. 'request:' .. src .. ':' .. tag) == 1 then
    call('ZREM', P .. 'academy:requests:' .. src, tag)

    if call('INCR', P .. 'completions:' .. src) == 1 and ARGV[9] ~= '0' then
        call('EXPIRE', P .. 'completions:' .. src, ARGV[9])
    end
end

if ARGV[7] ~= '0' then
    call('SET', seen, '', 'PX', ARGV[7])
end

if after then
    after(n)
end

return { OK, 0 }
