-- uses: common_list
-- ARGV: P state role after n order reverse(0/1) client groups admin(0/1) search
-- A page of a list behind after, 64 at the most: where it ends, or nothing at
-- its end; of each mailbox that is searched for and may be seen, its id and
-- that by which it is in order.  What is gone leaves the list.

local state, after, order = ARGV[2], ARGV[4], ARGV[6]
local n, reverse = math.min(ARGV[5], 64), ARGV[7] == '1'
local client, groups = ARGV[8], ARGV[9]
local admin, search = ARGV[10] == '1', ARGV[11]

local key, uids = list(state, ARGV[3]), nil

if reverse then
    uids = call('ZREVRANGEBYLEX', key, after == '' and '+' or '(' .. after, '-',
                'LIMIT', 0, n)
else
    uids = call('ZRANGEBYLEX', key, after == '' and '-' or '(' .. after, '+',
                'LIMIT', 0, n)
end

if #uids == 0 then
    return { OK, '' }
end

local function values(kind)
    local keys = {}

    for i, uid in ipairs(uids) do
        keys[i] = P .. kind .. uid
    end

    return call('MGET', unpack(keys))
end

local active = values('active:')
local owner = not admin and values('owner:')
local class = (search ~= '' or order == 'class') and values('agent:')
local name = (search ~= '' or order == 'name')
             and call('HMGET', P .. 'academy:names', unpack(uids))
local beat = order == 'heartbeat' and values('heartbeat:')
local completed = order == 'completed' and values('completions:')

local function first(mro)
    return mro and string.match(mro, '[^,]*') or ''
end

local function found(i)
    return search == ''
           or string.sub(uids[i], 1, #search) == search
           or string.find(string.lower(first(class[i])), search, 1, true)
           or string.find(string.lower(name[i] or ''), search, 1, true)
end

-- 6.2 does not have it: there it may be a millisecond more or less

local function ends(key)
    local at = redis.pcall('PEXPIRETIME', key)

    if type(at) == 'number' then
        return math.max(at, -1)
    end

    local left = call('PTTL', key)

    return left >= 0 and math.floor(1000 * now()) + left or -1
end

local function place(i)
    local uid = uids[i]

    if order == 'name' then
        return name[i] or ''
    elseif order == 'class' then
        return first(class[i])
    elseif order == 'queued' then
        return call('LLEN', P .. 'queue:' .. uid)
    elseif order == 'in_progress' then
        return math.max(call('ZCOUNT', P .. 'academy:requests:' .. uid,
                             math.floor(now()), '+inf')
                        - call('LLEN', P .. 'queue:' .. uid), 0)
    elseif order == 'completed' then
        return tonumber(completed[i] or 0)
    elseif order == 'heartbeat' then
        return beat[i] and math.floor(1000 * tonumber(beat[i])) or -1
    elseif order == 'oldest' then
        return ends(P .. 'queue:' .. uid)
    end

    return 0
end

local out, gone = { OK, uids[n] or '' }, {}
local word = state == 'active' and 'ACTIVE' or 'TERMINATED'

for i, uid in ipairs(uids) do
    if not active[i] then
        gone[#gone + 1] = uid

    elseif active[i] == word
           and (admin or permitted(uid, owner[i], client, groups)) and found(i)
    then
        out[#out + 1] = uid
        out[#out + 1] = place(i)
    end
end

if #gone > 0 then
    call('ZREM', key, unpack(gone))
end

return out
