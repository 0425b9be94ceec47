-- A leased message goes to the head of its mailbox, or nowhere if that is
-- closed.  Answers the message's size.  had: 1 if it was among the node's leases.
-- If there is no lease, because it was settled when it was written, text is the
-- message, unless it is empty.  It goes back once, however often this runs.

local function give(node, uid, seq, had, text, msgexp)
    local lease = P .. 'academy:lease:' .. node .. ':' .. seq
    local once = P .. 'academy:once:' .. node .. ':' .. seq
    local queue = P .. 'queue:' .. uid
    local v = call('MGET', P .. 'active:' .. uid, P .. 'academy:held:' .. uid,
                   once)

    if v[1] ~= 'ACTIVE' then
        call('UNLINK', lease)
        return 0
    end

    local left = call('PTTL', lease)
    local json = call('LMOVE', lease, queue, 'LEFT', 'LEFT')
    local size, new = json and #json or 0, 0

    if json then
        if v[3] or text and text ~= '' then
            call('SET', once, 'back', 'EX', 600)
        end

        if left > 0 and call('PTTL', queue) == -1 then
            call('PEXPIRE', queue, left)
        end

    elseif text and text ~= '' and v[3] ~= 'back' then
        size, new = #text, #text
        call('SET', once, 'back', 'EX', 600)

        if call('LPUSH', queue, text) == 1 then
            expire(queue, msgexp)
        end
    end

    if v[2] and had + new > 0 then
        local n, bytes = held_read(v[2])
        held_write(uid, n - had, bytes + new)
    end

    return size
end
