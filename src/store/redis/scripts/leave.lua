-- uses: common_held common_lease
-- ARGV: P node n dead(0/1)
-- Up to n messages that a node has leased go back, 40 at the most, and fewer if
-- they are large; answers whether there are more.  A node without any is
-- forgotten.  One that is said to be dead, and shows that it lives, keeps all:
-- the answer is 2.

local node = ARGV[2]

if ARGV[4] == '1'
   and tonumber(call('ZSCORE', P .. 'academy:nodes', node) or 0) > 1000 * now()
then
    return { OK, 2 }
end

local leases, handed = P .. 'academy:leases:' .. node,
                       P .. 'academy:handed:' .. node
local most = math.min(ARGV[3], 40)
local names = call('ZREVRANGE', leases, 0, most - 1, 'WITHSCORES')
local entries = call('XREVRANGE', handed, '+', '-', 'COUNT', most)
local i, j, size = 1, 1, 0

-- both are by time, the newest first

local function microseconds(entry)
    local seconds, rest = string.match(entry[2][1], ' (%d+) (%d+) ')
    return seconds * 1000000 + rest
end

for _ = 1, most do
    local entry, name = entries[j], names[i]

    if entry and not (name and tonumber(names[i + 1])
                      > microseconds(entry))
    then
        size = size + give(node, string.sub(entry[2][1], 1, 36), entry[1])
        j = j + 1

    elseif name then
        size = size + give(node, string.sub(name, 1, 36), string.sub(name, 38))
        i = i + 2

    else
        break
    end

    if size >= 131072 then
        break
    end
end

if call('XLEN', handed) > 0 then
    return { OK, 1 }
end

if call('EXISTS', leases) == 1 then
    return { OK, 1 }
end

call('ZREM', P .. 'academy:nodes', node)
call('DEL', handed)

if call('GET', P .. 'academy:leader') == node then
    call('DEL', P .. 'academy:leader')
end

return { OK, 0 }
