-- Agents by class.  Who comes into an index looks at a few others, taken at
-- random, so that what is gone does not gather there.

local function enroll(index, uids, grave)
    local key = P .. 'academy:' .. index
    local members = {}

    for i, uid in ipairs(uids) do
        members[2 * i - 1] = 0
        members[2 * i] = uid
    end

    call('ZADD', key, unpack(members))
    expire(key, grave)

    local others = call('ZRANDMEMBER', key, -math.min(2 * #uids, 10))
    local keys, gone = {}, {}

    for i, uid in ipairs(others) do
        keys[i] = P .. 'active:' .. uid
    end

    local v = call('MGET', unpack(keys))

    for i, uid in ipairs(others) do
        if v[i] ~= 'ACTIVE' then
            gone[#gone + 1] = uid
        end
    end

    if #gone > 0 then
        call('ZREM', key, unpack(gone))
    end
end

local function strike(uid, mro)
    call('ZREM', P .. 'academy:first:' .. string.match(mro, '[^,]*'), uid)

    for name in string.gmatch(mro, '[^,]+') do
        call('ZREM', P .. 'academy:class:' .. name, uid)
    end
end
