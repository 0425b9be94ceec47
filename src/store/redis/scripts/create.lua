-- uses: common_sign common_class common_list
-- ARGV: P uid client groups mro limit grave role name
-- Answers also whether there was none before.

local uid, client, groups, mro = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, grave = tonumber(ARGV[6]), tonumber(ARGV[7])

local active, owner = P .. 'active:' .. uid, P .. 'owner:' .. uid
local owned = P .. 'academy:owned:' .. client
local v = call('MGET', active, owner)
local code = open(uid, v[1], v[2], client, groups)

if code ~= MISSING then
    if code == OK then
        renew(uid, grave)
    end

    return { code == FORBIDDEN and FORBIDDEN or OK, 0 }
end

-- Whose time has passed counts no more: those that were not looked at for the
-- longest time are looked at.

if limit > 0 and call('ZCARD', owned) >= limit then
    unbound()

    local time = now()

    for _, other in ipairs(call('ZRANGE', owned, 0, 49)) do
        if call('EXISTS', P .. 'active:' .. other) == 1 then
            call('ZADD', owned, time, other)
        else
            call('ZREM', owned, other)
        end
    end

    if call('ZCARD', owned) >= limit then
        return { 8 }
    end
end

set(active, 'ACTIVE', grave)
set(owner, client .. '_', grave)
call('ZADD', owned, now(), uid)
expire(owned, grave)

-- what another one of this id may have left

call('UNLINK', P .. 'agent:' .. uid, P .. 'share:' .. uid, P .. 'queue:' .. uid,
     P .. 'heartbeat:' .. uid, P .. 'completions:' .. uid,
     P .. 'outgoing:' .. uid, P .. 'academy:held:' .. uid,
     P .. 'academy:waits:' .. uid)

if mro ~= '' then
    set(P .. 'agent:' .. uid, mro, grave)
    enroll('first:' .. string.match(mro, '[^,]*'), { uid }, grave)

    for name in string.gmatch(mro, '[^,]+') do
        enroll('class:' .. name, { uid }, grave)
    end
end

unlist('terminated', uid)
unlist('active', uid)
enlist('active', ARGV[8], { uid }, grave)

if ARGV[9] ~= '' then
    call('HSET', P .. 'academy:names', uid, ARGV[9])
    expire(P .. 'academy:names', grave)
else
    call('HDEL', P .. 'academy:names', uid)
end

return { OK, 1 }
