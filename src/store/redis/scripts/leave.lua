-- uses: common_held common_lease
-- ARGV: P node n dead(0/1)
-- Up to n messages that a node has leased go back, 40 at the most, and fewer if
-- they are large; answers whether there is more to do.  Older ones come later,
-- so nothing is taken of their mailboxes before all are back, or for 3 seconds.
-- A node without any is forgotten.  One that is said to be dead, and shows that
-- it lives, keeps all: the answer is 2.

local node, time = ARGV[2], math.floor(1000 * now())

if ARGV[4] == '1'
   and tonumber(call('ZSCORE', P .. 'academy:nodes', node) or 0) > time
then
    return { OK, 2 }
end

local leases, handed = P .. 'academy:leases:' .. node,
                       P .. 'academy:handed:' .. node
local hold, holds = P .. 'academy:hold:', P .. 'academy:holds:' .. node
local back = {}
local most = math.min(ARGV[3], 40)
local names = call('ZREVRANGE', leases, 0, most - 1, 'WITHSCORES')
local entries = call('XREVRANGE', handed, '+', '-', 'COUNT', most)
local i, j, size = 1, 1, 0

-- Both are by time, the newest first.  Within a millisecond, or as long as ids
-- are of a time to come since the clock was set back, leases of the same
-- mailbox tell: what was leased before it waited comes before what was handed
-- over to it.

local function later(entry)
    local at = tonumber(string.match(entry[1], '^%d+'))
    local first = tonumber(string.match(entry[2][1], ' (%d+) ') or 0)
    local uid = string.sub(entry[2][1], 1, 36)

    for k = i, #names, 2 do
        local ms = math.floor(names[k + 1] / 1000)

        if ms ~= at and at <= time then
            return k == i and ms > at
        end

        if string.sub(names[k], 1, 36) == uid then
            return tonumber(string.sub(names[k], 38)) >= first
        end
    end

    return false
end

for _ = 1, most do
    local entry, name = entries[j], names[i]
    local uid

    if entry and not (name and later(entry)) then
        uid = string.sub(entry[2][1], 1, 36)
        size = size + give(node, uid, entry[1])
        j = j + 1

    elseif name then
        uid = string.sub(name, 1, 36)
        size = size + give(node, uid, string.sub(name, 38))
        i = i + 2

    else
        break
    end

    back[uid] = true

    if size >= 131072 then
        break
    end
end

if call('XLEN', handed) > 0 or call('EXISTS', leases) == 1 then

    -- without memory for it they may come in another order

    for uid in pairs(back) do
        redis.pcall('SADD', holds, uid)
        redis.pcall('SET', hold .. uid, node, 'PX', 3000)
    end

    redis.pcall('PEXPIRE', holds, 60000)

    return { OK, 1 }
end

for _, uid in ipairs(call('SPOP', holds, most)) do
    if call('GET', hold .. uid) == node then
        call('DEL', hold .. uid)

        -- changes nothing, and who waits is told

        redis.pcall('LMOVE', P .. 'queue:' .. uid, P .. 'queue:' .. uid,
                    'LEFT', 'LEFT')
    end
end

if call('EXISTS', holds) == 1 then
    return { OK, 1 }
end

call('ZREM', P .. 'academy:nodes', node)
call('DEL', handed)

-- what it sent before it died may be read after this

redis.pcall('SET', P .. 'academy:gone:' .. node, '', 'EX', 60)

if call('GET', P .. 'academy:leader') == node then
    call('DEL', P .. 'academy:leader')
end

return { OK, 0 }
