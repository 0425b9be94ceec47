-- What a mailbox holds, for who has limits for it: the number of messages that
-- are leased, and the bytes of those and of what is queued.

local function held_read(text)
    local n, bytes = string.match(text or '', '^(%d+) (%d+)$')
    return tonumber(n or 0), tonumber(bytes or 0)
end

local function held_write(uid, n, bytes, seconds)
    local text = string.format('%.0f %.0f', math.max(n, 0), math.max(bytes, 0))

    if seconds then
        set(P .. 'academy:held:' .. uid, text, seconds)
    else
        call('SET', P .. 'academy:held:' .. uid, text, 'KEEPTTL')
    end
end
