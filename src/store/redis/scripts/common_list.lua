-- All mailboxes, for who looks: by state and role, in the order of their ids,
-- and the names that their clients gave them.  Who comes in looks at a few
-- others, taken at random, so that what is gone does not gather there.

local function list(state, role)
    return P .. 'academy:all:' .. state .. ':' .. role
end

local function weed(key, n)
    local others, keys, gone = call('ZRANDMEMBER', key, n), {}, {}

    for i, uid in ipairs(others) do
        keys[i] = P .. 'active:' .. uid
    end

    for i, active in ipairs(#keys > 0 and call('MGET', unpack(keys)) or {}) do
        if not active then
            gone[#gone + 1] = others[i]
        end
    end

    if #gone > 0 then
        call('ZREM', key, unpack(gone))
        call('HDEL', P .. 'academy:names', unpack(gone))
    end
end

local function listed(state, uid)
    return call('ZSCORE', list(state, 'agent'), uid) and 'agent'
           or call('ZSCORE', list(state, 'user'), uid) and 'user'
end

local function unlist(state, uid)
    for _, role in ipairs({ 'agent', 'user' }) do
        if call('ZREM', list(state, role), uid) == 1 then
            return role
        end
    end
end

local function enlist(state, role, uids, grave)
    local key, members = list(state, role), {}

    for i, uid in ipairs(uids) do
        members[2 * i - 1] = 0
        members[2 * i] = uid
    end

    call('ZADD', key, unpack(members))
    expire(key, grave)
    weed(key, math.min(2 * #uids, 10))
end
