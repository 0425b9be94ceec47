-- A leased message goes to the head of its mailbox, or nowhere if that is
-- closed.  Answers the message's size.  If there is no lease, because it was
-- settled when it was written, text is the message, unless it is empty.  It
-- goes back once, however often this runs.  What was handed over has an id as
-- seq. The first command is one that is not refused for lack of memory.

local function give(node, uid, seq, text, msgexp)
    local lease = P .. 'academy:lease:' .. node .. ':' .. seq
    local once = P .. 'academy:once:' .. node .. ':' .. seq
    local queue = P .. 'queue:' .. uid
    local had, json, left = 0, false, -2

    if string.find(seq, '-', 1, true) then
        local handed = P .. 'academy:handed:' .. node
        local entry = call('XRANGE', handed, seq, seq)[1]

        had = call('XDEL', handed, seq)

        if entry then
            json = entry[2][2]
            left = 1000 * string.match(entry[2][1], '%d+$')
        end
    else
        had = call('ZREM', P .. 'academy:leases:' .. node, uid .. ':' .. seq)
    end

    local v = call('MGET', P .. 'active:' .. uid, P .. 'academy:held:' .. uid,
                   once)

    if v[1] ~= 'ACTIVE' then
        call('UNLINK', lease)
        return 0
    end

    if json then
        call('LPUSH', queue, json)

    else
        left = call('PTTL', lease)
        json = call('LMOVE', lease, queue, 'LEFT', 'LEFT')
    end

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
