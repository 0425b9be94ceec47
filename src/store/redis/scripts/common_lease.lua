-- A leased message goes to the head of its mailbox, or nowhere if that is
-- closed.  Answers the message's size.

local function give(node, uid, seq)
    local lease = P .. 'academy:lease:' .. node .. ':' .. seq
    local queue = P .. 'queue:' .. uid
    local v = call('MGET', P .. 'active:' .. uid, P .. 'academy:held:' .. uid)

    if v[1] ~= 'ACTIVE' then
        call('UNLINK', lease)
        return 0
    end

    local left = call('PTTL', lease)
    local json = call('LMOVE', lease, queue, 'LEFT', 'LEFT')

    if not json then
        return 0
    end

    if left > 0 and call('PTTL', queue) == -1 then
        call('PEXPIRE', queue, left)
    end

    if v[2] then
        local n, bytes = held_read(v[2])
        held_write(uid, n - 1, bytes)
    end

    return #json
end
