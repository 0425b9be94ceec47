-- ARGV: P uid client groups
-- Few open requests are looked at one by one: a Python exchange may just have
-- ended some.

local uid = ARGV[2]
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid,
               P .. 'outgoing:' .. uid, P .. 'completions:' .. uid)
local code = open(uid, v[1], v[2], ARGV[3], ARGV[4])

if code ~= OK then
    return { code == FORBIDDEN and FORBIDDEN or OK, 0, 0, 0, 0 }
end

local requests, time = P .. 'academy:requests:' .. uid, math.floor(now())
local pending = call('ZCOUNT', requests, time, '+inf')

if pending > 0 and pending <= 100 then
    local keys = call('ZRANGEBYSCORE', requests, time, '+inf')

    for i, tag in ipairs(keys) do
        keys[i] = P .. 'request:' .. uid .. ':' .. tag
    end

    pending = call('EXISTS', unpack(keys))
end

return { OK, tonumber(v[3] or 0), tonumber(v[4] or 0), pending,
         call('LLEN', P .. 'queue:' .. uid) }
