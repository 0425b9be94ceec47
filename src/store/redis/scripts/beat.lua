-- uses: common_sign
-- ARGV: P uid client groups grave

local uid, grave = ARGV[2], tonumber(ARGV[5])
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid)
local code = open(uid, v[1], v[2], ARGV[3], ARGV[4])

if code == OK then
    unbound()
    sign(uid, false, now(), grave)
end

return { code }
