-- ARGV: P node channel uid...
-- Of these mailboxes nothing is handed over to the node any more, and when that
-- is so it is told by the channel, behind all that was handed over.  Answers
-- how many were told.

local node, keys = ARGV[2], {}

for i = 4, #ARGV do
    keys[i - 3] = P .. 'academy:waits:' .. ARGV[i]
end

for i, value in ipairs(call('MGET', unpack(keys))) do
    if value and string.sub(value, 1, 32) == node then
        call('DEL', keys[i])
    end
end

local n = redis.pcall('PUBLISH', ARGV[3], '-' .. table.concat(ARGV, '', 4))

return { OK, type(n) == 'number' and n or 0 }
