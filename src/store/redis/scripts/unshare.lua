-- uses: common_owner
-- ARGV: P uid client group
-- Who waits by this share alone has to be looked at: an entry comes and goes
-- at the queue's end, of which those are told who are subscribed to it.

local uid, queue = ARGV[2], P .. 'queue:' .. ARGV[2]
local code = open_owned(uid, ARGV[3])

if code == OK and call('SREM', P .. 'share:' .. uid, ARGV[4]) == 1 then
    call('DEL', P .. 'academy:waits:' .. uid)
    call('RPUSH', queue, '')
    call('RPOP', queue)
end

return { code }
