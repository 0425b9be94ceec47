-- ARGV: P msgexp (uid tag)...
-- Answers how many of the pairs it looked at: the rest is for another run.
--
-- A request that comes to a closed mailbox is answered when that is closed
-- again.

local msgexp, time = tonumber(ARGV[2]), now()
local added, ended, uids, keys = {}, {}, {}, {}

local function place(list, uid, ...)
    if not list[uid] then
        list[uid] = {}
    end

    for _, value in ipairs({ ... }) do
        table.insert(list[uid], value)
    end
end

local last = math.min(#ARGV - 1, 101)

for i = 3, last, 2 do
    local uid, tag = ARGV[i], ARGV[i + 1]
    local left = call('PTTL', P .. 'request:' .. uid .. ':' .. tag)

    if left == -2 then
        place(ended, uid, tag)

    else
        if not added[uid] then
            uids[#uids + 1] = uid
            keys[#keys + 1] = P .. 'active:' .. uid
        end

        place(added, uid, left == -1 and '+inf'
              or math.floor(time + left / 1000), tag)
    end
end

unbound()

local v = #keys > 0 and call('MGET', unpack(keys))

for i, uid in ipairs(uids) do
    local requests = P .. 'academy:requests:' .. uid

    call('ZADD', requests, unpack(added[uid]))

    if call('PTTL', requests) < 1000 * msgexp then
        expire(requests, msgexp)
    end

    if v[i] == 'TERMINATED' then
        call('SADD', P .. 'academy:closing', uid)
    end
end

for uid, tags in pairs(ended) do
    call('ZREM', P .. 'academy:requests:' .. uid, unpack(tags))
end

return { OK, math.floor((last - 1) / 2) }
