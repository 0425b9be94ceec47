-- Signs of life, and the expiry of what is in use: it is put off when a good
-- part of it, or an hour, went by.

local function renew(uid, grave)
    if grave == 0
       or call('PTTL', P .. 'active:' .. uid)
          > 1000 * (grave - math.min(3600, grave / 8))
    then
        return
    end

    for _, name in ipairs({ 'active:', 'owner:', 'heartbeat:', 'agent:',
                            'share:', 'completions:', 'outgoing:' }) do
        call('EXPIRE', P .. name .. uid, grave)
    end

    local left = call('PTTL', P .. 'academy:requests:' .. uid)

    if left ~= -2 and left < 1000 * grave then
        call('EXPIRE', P .. 'academy:requests:' .. uid, grave)
    end

    local v = call('MGET', P .. 'owner:' .. uid, P .. 'agent:' .. uid)

    if v[1] then
        call('EXPIRE', P .. 'academy:owned:' .. string.sub(v[1], 1, -2), grave)
    end

    if v[2] then
        call('EXPIRE', P .. 'academy:first:' .. string.match(v[2], '[^,]*'),
             grave)

        for name in string.gmatch(v[2], '[^,]+') do
            call('EXPIRE', P .. 'academy:class:' .. name, grave)
        end
    end
end

-- A heartbeat of less than a second ago will do.

local function sign(uid, beat, time, grave)
    local age = time - (tonumber(beat or 0) or 0)

    if age >= 0 and age < 1 then
        return false
    end

    set(P .. 'heartbeat:' .. uid, string.format('%.6f', time), grave)
    renew(uid, grave)

    return true
end
