-- uses: common_list common_row
-- ARGV: P uid client groups admin(0/1) msgexp first n length
-- A mailbox as it is shown, its role, and of up to n messages from first on
-- their sizes and how they begin: fewer if they are large.

local uid, admin, msgexp = ARGV[2], ARGV[5] == '1', tonumber(ARGV[6])
local index, n, length = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local v = call('MGET', row_keys(uid))
local code = open(uid, v[1], not admin and v[2], ARGV[3], ARGV[4])

if code ~= OK and code ~= TERMINATED then
    return { code }
end

local out = { OK, row(uid, v, now(), msgexp),
              listed('active', uid) or listed('terminated', uid) or '', 0 }
local size = 0

while code == OK and n > 0 and size < 131072 do
    local json = call('LINDEX', P .. 'queue:' .. uid, index)

    if not json then
        return out
    end

    out[#out + 1] = #json
    out[#out + 1] = string.sub(json, 1, length)
    index, n, size = index + 1, n - 1, size + #json
end

-- 1: there may be more

out[4] = code == OK and 1 or 0

return out
