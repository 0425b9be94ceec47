-- uses: common_owner
-- ARGV: P uid client

local code = open_owned(ARGV[2], ARGV[3])

if code ~= OK then
    return { code }
end

return { OK, unpack(call('SMEMBERS', P .. 'share:' .. ARGV[2])) }
