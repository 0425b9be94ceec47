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

local leases = P .. 'academy:leases:' .. node
local names = call('ZREVRANGE', leases, 0, math.min(ARGV[3], 40) - 1)
local size = 0

for _, name in ipairs(names) do
    size = size + give(node, string.sub(name, 1, 36), string.sub(name, 38),
                       call('ZREM', leases, name))

    if size >= 131072 then
        break
    end
end

if call('EXISTS', leases) == 1 then
    return { OK, 1 }
end

call('ZREM', P .. 'academy:nodes', node)

if call('GET', P .. 'academy:leader') == node then
    call('DEL', P .. 'academy:leader')
end

return { OK, 0 }
