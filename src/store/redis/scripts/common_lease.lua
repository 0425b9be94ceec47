-- A leased message goes to the head of its mailbox, or nowhere if that is
-- closed.  Answers the message's size.  If there is no lease, because it was
-- settled when it was written, text is the message, unless it is empty.

local function give(node, uid, seq, text, msgexp)
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
        if not text or text == '' then
            return 0
        end

        if call('LPUSH', queue, text) == 1 then
            expire(queue, msgexp)
        end

        if v[2] then
            local n, bytes = held_read(v[2])
            held_write(uid, n, bytes + #text)
        end

        return #text
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
