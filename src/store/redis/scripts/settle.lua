-- uses: common_held
-- ARGV: P node (uid seq size)...

local leases = P .. 'academy:lease:' .. ARGV[2] .. ':'
local keys, names, helds = {}, {}, {}

for i = 1, (#ARGV - 2) / 3 do
    keys[i] = leases .. ARGV[3 * i + 1]
    names[i] = ARGV[3 * i] .. ':' .. ARGV[3 * i + 1]
    helds[i] = P .. 'academy:held:' .. ARGV[3 * i]
end

-- what was leased for too long may be in its mailbox again: it counts there

for i, text in ipairs(call('MGET', unpack(helds))) do
    if text and call('ZREM', P .. 'academy:leases:' .. ARGV[2], names[i]) == 1
    then
        local n, bytes = held_read(call('GET', helds[i]))
        held_write(ARGV[3 * i], n - 1, bytes - ARGV[3 * i + 2])
    end
end

call('DEL', unpack(keys))
call('ZREM', P .. 'academy:leases:' .. ARGV[2], unpack(names))

return { OK }
