-- uses: common_held
-- ARGV: P node (uid seq size)...

local leases = P .. 'academy:leases:' .. ARGV[2]
local handed = P .. 'academy:handed:' .. ARGV[2]
local keys, names, ids, helds = {}, {}, {}, {}

for i = 1, (#ARGV - 2) / 3 do
    local uid, seq = ARGV[3 * i], ARGV[3 * i + 1]

    if string.find(seq, '-', 1, true) then
        ids[#ids + 1] = seq
    else
        keys[#keys + 1] = P .. 'academy:lease:' .. ARGV[2] .. ':' .. seq
        names[#names + 1] = uid .. ':' .. seq
    end

    helds[i] = P .. 'academy:held:' .. uid
end

-- what was leased for too long may be in its mailbox again: it counts there

for i, text in ipairs(call('MGET', unpack(helds))) do
    if text then
        local uid, seq = ARGV[3 * i], ARGV[3 * i + 1]
        local had = string.find(seq, '-', 1, true)
                    and call('XDEL', handed, seq)
                    or call('ZREM', leases, uid .. ':' .. seq)

        if had == 1 then
            local n, bytes = held_read(call('GET', helds[i]))
            held_write(uid, n - 1, bytes - ARGV[3 * i + 2])
        end
    end
end

if #ids > 0 then
    call('XDEL', handed, unpack(ids))
end

if #keys > 0 then
    call('DEL', unpack(keys))
    call('ZREM', leases, unpack(names))
end

return { OK }
