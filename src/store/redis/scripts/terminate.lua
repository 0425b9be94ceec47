-- uses: common_class common_list
-- ARGV: P uid client groups grave msgexp admin(0/1)
-- Answers also whether close is to be run, whether it was terminated now, and
-- how many messages were dropped.  A Python exchange's listener, and
-- whoever is subscribed to the queue, learns it by the queue.

local uid, client, groups = ARGV[2], ARGV[3], ARGV[4]
local grave, msgexp = tonumber(ARGV[5]), tonumber(ARGV[6])

local queue, requests = P .. 'queue:' .. uid, P .. 'academy:requests:' .. uid
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid,
               P .. 'agent:' .. uid)
local code = open(uid, v[1], ARGV[7] ~= '1' and v[2], client, groups)

if code ~= OK then
    return { code == FORBIDDEN and FORBIDDEN or OK, 0, 0, 0 }
end

local dropped = call('LLEN', queue)

call('UNLINK', queue, P .. 'academy:held:' .. uid,
     P .. 'academy:waits:' .. uid)

set(P .. 'active:' .. uid, 'TERMINATED', grave)
expire(P .. 'owner:' .. uid, grave)
expire(P .. 'share:' .. uid, grave)

if v[2] then
    expire(P .. 'academy:owned:' .. string.sub(v[2], 1, -2), grave)
end

if v[3] then
    strike(uid, v[3])
    call('DEL', P .. 'agent:' .. uid)
end

call('RPUSH', queue, '<CLOSED>')
expire(queue, msgexp > 0 and msgexp or grave)

enlist('terminated', unlist('active', uid) or v[3] and 'agent' or 'user',
       { uid }, grave)

if call('EXISTS', requests) == 0 then
    return { OK, 0, 1, dropped }
end

call('SADD', P .. 'academy:closing', uid)

return { OK, 1, 1, dropped }
