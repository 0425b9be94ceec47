-- uses: common_held common_lease
-- ARGV: P node before(0/1) after(0/1) msgexp (uid seq json)...
-- The newest comes first.  json is empty unless the lease may be gone, as that
-- of what was settled when it was written.
--
-- What goes back in several scripts is not taken before the last of them, or
-- it would be out of order: before, if the first mailbox's was begun before,
-- after, if the last one's is not at its end.

local node, msgexp = ARGV[2], tonumber(ARGV[5])
local hold = P .. 'academy:hold:'

for i = 6, #ARGV, 3 do
    give(node, ARGV[i], ARGV[i + 1], ARGV[i + 2], msgexp)
end

local last = ARGV[#ARGV - 2]

if (ARGV[4] == '0' or ARGV[6] ~= last)
   and (ARGV[3] == '1' or call('GET', hold .. ARGV[6]) == node)
then
    call('DEL', hold .. ARGV[6])
end

if ARGV[4] == '1' then
    call('SET', hold .. last, node, 'PX', 3000)
end

return { OK }
