-- uses: common_handed
-- ARGV: P node channel from to
-- Ids and mailboxes of what was handed over to a node, some at a time.  At
-- first from is empty: the last id is told by the channel, behind all that was
-- handed over so far.  Without memory nothing is handed over.

local handed = P .. 'academy:handed:' .. ARGV[2]

if ARGV[4] == '' then
    handed_open(ARGV[2])

    local last = call('XREVRANGE', handed, '+', '-', 'COUNT', 1)[1]

    redis.pcall('PUBLISH', ARGV[3], '=' .. (last and last[1] or '0-0'))

    return { OK }
end

local out = { OK }

for _, entry in ipairs(call('XRANGE', handed, ARGV[4], ARGV[5], 'COUNT', 50)) do
    out[#out + 1] = entry[1]
    out[#out + 1] = string.sub(entry[2][1], 1, 36)
end

return out
