-- Before each script.  ARGV[1] is what all keys begin with.  A script answers
-- an array of a code, one of ngx_http_academy_result_e, and what belongs to it.
-- An owner's key holds the client's id and an underscore.
--
-- A script whose first write could need memory is refused when Redis has none
-- left; what comes behind another write is not.  unbound() is a write that is
-- never refused: for what has to go on all the same.

local call, P = redis.call, ARGV[1]
local OK, MISSING, TERMINATED, FORBIDDEN = 0, 1, 2, 3

local function unbound()
    call('DEL', P .. 'academy:nothing')
end

local function set(key, value, seconds)
    if seconds > 0 then
        call('SET', key, value, 'EX', seconds)
    else
        call('SET', key, value)
    end
end

local function expire(key, seconds)
    if seconds > 0 then
        call('EXPIRE', key, seconds)
    end
end

local function now()
    local time = call('TIME')
    return time[1] + time[2] / 1000000
end

local function among(name, list)
    return string.find(',' .. list .. ',', ',' .. name .. ',', 1, true)
end

-- the groups of whoever asks, by name, once they are needed

local mine, nmine

local function belongs(uid, groups)
    if not mine then
        mine, nmine = {}, {}

        for group in string.gmatch(groups, '[^,]+') do
            mine[group] = true
            nmine[#nmine + 1] = group
        end
    end

    if #nmine <= 16 then
        for _, is in ipairs(call('SMISMEMBER', P .. 'share:' .. uid,
                                 unpack(nmine)))
        do
            if is == 1 then
                return true
            end
        end

        return false
    end

    for _, group in ipairs(call('SMEMBERS', P .. 'share:' .. uid)) do
        if mine[group] then
            return true
        end
    end

    return false
end

local function permitted(uid, owner, client, groups)
    return not owner or owner == client .. '_'
           or groups ~= '' and belongs(uid, groups)
end

local function open(uid, active, owner, client, groups)
    if not active then
        return MISSING
    end

    if not permitted(uid, owner, client, groups) then
        return FORBIDDEN
    end

    return active == 'ACTIVE' and OK or TERMINATED
end
