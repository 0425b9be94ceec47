-- ARGV: P msgexp (uid tag)...
-- A request that comes to a closed mailbox is answered when that is closed
-- again.

local msgexp, time = tonumber(ARGV[2]), now()
local keys, added, ended = {}, {}, {}

local function place(list, uid, ...)
    list[uid] = list[uid] or {}

    for _, value in ipairs({ ... }) do
        table.insert(list[uid], value)
    end
end

for i = 3, #ARGV - 1, 2 do
    local uid, tag = ARGV[i], ARGV[i + 1]
    local left = call('PTTL', P .. 'request:' .. uid .. ':' .. tag)

    if left == -2 then
        place(ended, uid, tag)
    else
        place(added, uid, left == -1 and '+inf'
              or math.floor(time + left / 1000), tag)
    end
end

unbound()

for uid, members in pairs(added) do
    call('ZADD', P .. 'academy:requests:' .. uid, unpack(members))
    expire(P .. 'academy:requests:' .. uid, msgexp)

    if call('GET', P .. 'active:' .. uid) == 'TERMINATED' then
        call('SADD', P .. 'academy:closing', uid)
    end
end

for uid, tags in pairs(ended) do
    call('ZREM', P .. 'academy:requests:' .. uid, unpack(tags))
end

return { OK }
