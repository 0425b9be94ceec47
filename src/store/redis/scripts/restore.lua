-- uses: common_held
-- ARGV: P node uid old new age_ms json msgexp
-- A message that was settled when it was written, and may not have been
-- received, is leased again, as new.  The lease may be there still, as old.

local node, uid, old, new = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local leases, lease = P .. 'academy:leases:' .. node,
                      P .. 'academy:lease:' .. node .. ':'
local once = P .. 'academy:once:' .. node .. ':' .. new
local v = call('MGET', P .. 'active:' .. uid, P .. 'academy:held:' .. uid, once,
               P .. 'academy:gone:' .. node)

-- if it is not back in its mailbox already; and of a node that has left it is
-- the system's to deliver

if v[1] ~= 'ACTIVE' or v[3] == 'back' or v[4] then
    return { OK }
end

local had = string.find(old, '-', 1, true)
            and call('XDEL', P .. 'academy:handed:' .. node, old)
            or call('ZREM', leases, uid .. ':' .. old)

if call('EXISTS', lease .. new) == 0 then

    if call('EXISTS', lease .. old) == 1 then
        call('RENAME', lease .. old, lease .. new)

    else
        call('SET', once, 'leased', 'EX', 600)
        call('LPUSH', lease .. new, ARGV[7])
        expire(lease .. new, tonumber(ARGV[8]))

        if v[2] and had == 0 then
            local n, bytes = held_read(v[2])
            held_write(uid, n + 1, bytes + #ARGV[7])
        end
    end
end

call('ZADD', leases,
     string.format('%.0f', (now() - ARGV[6] / 1000) * 1000000),
     uid .. ':' .. new)

return { OK }
