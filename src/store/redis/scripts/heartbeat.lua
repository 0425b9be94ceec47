-- ARGV: P uid client groups

local uid = ARGV[2]
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid,
               P .. 'heartbeat:' .. uid)
local code = open(uid, v[1], v[2], ARGV[3], ARGV[4])
local beat = tonumber(v[3] or '')

if code ~= OK or not beat then
    return { code, -1 }
end

return { OK, math.max(math.floor(1000 * (now() - beat)), 0) }
