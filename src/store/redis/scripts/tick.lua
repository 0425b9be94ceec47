-- uses: common_handed common_list
-- ARGV: P node ttl_ms leader_ttl_ms(0: never) grave
-- Answers whether this node is the leader; that one also learns, in a list
-- each, some nodes whose time has passed, and some mailboxes to be closed.  And
-- what time it is, in milliseconds.

local node, nodes = ARGV[2], P .. 'academy:nodes'
local leader = P .. 'academy:leader'
local time = math.floor(1000 * now())

unbound()

call('ZADD', nodes, time + ARGV[3], node)
call('DEL', P .. 'academy:gone:' .. node)
handed_open(node)

if (call('GET', leader) or node) ~= node then
    return { OK, 0, {}, {}, time }
end

if ARGV[4] == '0' then
    call('DEL', leader)
    return { OK, 0, {}, {}, time }
end

call('SET', leader, node, 'PX', ARGV[4])

-- the lists are there as long as somebody leads, or mailboxes are

for _, role in ipairs({ 'agent', 'user' }) do
    expire(list('active', role), tonumber(ARGV[5]))
    expire(list('terminated', role), tonumber(ARGV[5]))
end

expire(P .. 'academy:names', tonumber(ARGV[5]))

return { OK, 1,
         call('ZRANGEBYSCORE', nodes, '-inf', time, 'LIMIT', 0, 64),
         call('SRANDMEMBER', P .. 'academy:closing', 64), time }
