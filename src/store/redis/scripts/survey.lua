-- uses: common_list
-- ARGV: P
-- Counts: mailboxes by state and role, what is leased, nodes.  Of more than 256
-- nodes the leases of some are not counted.

local nodes, leased = call('ZRANGE', P .. 'academy:nodes', 0, 255), 0

for _, node in ipairs(nodes) do
    leased = leased + call('ZCARD', P .. 'academy:leases:' .. node)
             + call('XLEN', P .. 'academy:handed:' .. node)
end

return { OK, call('ZCARD', list('active', 'agent')),
         call('ZCARD', list('active', 'user')),
         call('ZCARD', list('terminated', 'agent')),
         call('ZCARD', list('terminated', 'user')), leased, #nodes }
