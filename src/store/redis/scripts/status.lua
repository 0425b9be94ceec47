-- ARGV: P uid client groups

local uid = ARGV[2]
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid)

return { open(uid, v[1], v[2], ARGV[3], ARGV[4]) }
