-- uses: common_held common_lease
-- ARGV: P node before(0/1) after(0/1) msgexp (uid seq json)...
-- The newest comes first.  ZREM before all: it is not refused.  json is empty
-- unless the lease may be gone, as that of what was settled when it was written.
--
-- What goes back in several scripts is not taken before the last of them, or
-- it would be out of order: before, if the first mailbox's was begun before,
-- after, if the last one's is not at its end.

local node, msgexp = ARGV[2], tonumber(ARGV[5])
local names, hold = {}, P .. 'academy:hold:'

for i = 1, (#ARGV - 5) / 3 do
    names[i] = ARGV[3 * i + 3] .. ':' .. ARGV[3 * i + 4]
end

for i, name in ipairs(names) do
    local j = 3 * i + 3
    local had = call('ZREM', P .. 'academy:leases:' .. node, name)

    give(node, ARGV[j], ARGV[j + 1], had, ARGV[j + 2], msgexp)
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
