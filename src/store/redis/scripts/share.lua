-- uses: common_owner
-- ARGV: P uid client group in_group grave

local uid, group, grave = ARGV[2], ARGV[4], tonumber(ARGV[6])
local share = P .. 'share:' .. uid
local code = open_owned(uid, ARGV[3])

if code == TERMINATED and ARGV[5] ~= '1' then
    return { FORBIDDEN }
end

if code ~= OK then
    return { code }
end

if ARGV[5] ~= '1' then
    return { FORBIDDEN }
end

if call('SISMEMBER', share, group) == 1 then
    return { OK }
end

-- NGX_HTTP_ACADEMY_MAX_SHARES

if call('SCARD', share) >= 256 then
    return { 5 }
end

call('SADD', share, group)
expire(share, grave)

return { OK }
