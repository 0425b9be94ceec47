-- uses: common_held common_lease
-- ARGV: P node (uid seq)...
-- The newest comes first.  ZREM before all: it is not refused.

local names = {}

for i = 1, (#ARGV - 2) / 2 do
    names[i] = ARGV[2 * i + 1] .. ':' .. ARGV[2 * i + 2]
end

call('ZREM', P .. 'academy:leases:' .. ARGV[2], unpack(names))

for i = 3, #ARGV - 1, 2 do
    give(ARGV[2], ARGV[i], ARGV[i + 1])
end

return { OK }
