-- uses: common_class common_list
-- ARGV: P grave uid...
-- Answers how many of the mailboxes it looked at: the rest is for another run.
-- Each is three keys, which cost a microsecond each where many are stored.

local grave = tonumber(ARGV[2])
local last = math.min(#ARGV, 24)
local keys, time = {}, now()

for i = 3, last do
    keys[#keys + 1] = P .. 'active:' .. ARGV[i]
    keys[#keys + 1] = P .. 'agent:' .. ARGV[i]
    keys[#keys + 1] = P .. 'owner:' .. ARGV[i]
end

local v = call('MGET', unpack(keys))
local indexes, owners, states, places, done = {}, {}, {}, 0, 0

local function place(list, key, uid)
    list[key] = list[key] or {}
    table.insert(list[key], uid)
    places = places + 1
end

unbound()

for i = 3, last do
    local uid = ARGV[i]
    local active, mro, owner = v[3 * i - 8], v[3 * i - 7], v[3 * i - 6]

    if active and owner then
        place(owners, string.sub(owner, 1, -2), uid)
    end

    if active and owner then
        local state = active == 'ACTIVE' and 'active' or 'terminated'

        states[state] = states[state] or {}
        states[state][uid] = mro and 'agent' or 'user'
    end

    if active == 'ACTIVE' and mro and owner then
        place(indexes, 'first:' .. string.match(mro, '[^,]*'), uid)

        local n = 0

        for name in string.gmatch(mro, '[^,]+') do
            place(indexes, 'class:' .. name, uid)
            n = n + 1

            -- NGX_HTTP_ACADEMY_MAX_CLASSES

            if n == 128 then
                break
            end
        end

    elseif active and active ~= 'ACTIVE' then
        if mro then
            strike(uid, mro)
            places = places + 10
        end

        if call('EXISTS', P .. 'academy:requests:' .. uid) == 1 then
            call('SADD', P .. 'academy:closing', uid)
        end
    end

    done = done + 1

    if places >= 200 then
        break
    end
end

for index, uids in pairs(indexes) do
    enroll(index, uids, grave)
end

-- what is not in its list yet keeps the role that it had in another one

for state, roles in pairs(states) do
    local uids, other = {}, state == 'active' and 'terminated' or 'active'

    for uid in pairs(roles) do
        uids[#uids + 1] = uid
    end

    local agents = call('ZMSCORE', list(state, 'agent'), unpack(uids))
    local users = call('ZMSCORE', list(state, 'user'), unpack(uids))
    local new = { agent = {}, user = {} }

    for i, uid in ipairs(uids) do
        if not agents[i] and not users[i] then
            table.insert(new[unlist(other, uid) or roles[uid]], uid)
        end
    end

    for role, uids in pairs(new) do
        if #uids > 0 then
            enlist(state, role, uids, grave)
        end
    end
end

for owner, uids in pairs(owners) do
    local key, members = P .. 'academy:owned:' .. owner, {}

    for i, uid in ipairs(uids) do
        members[2 * i - 1] = time
        members[2 * i] = uid
    end

    call('ZADD', key, 'NX', unpack(members))
    expire(key, grave)
end

return { OK, done }
