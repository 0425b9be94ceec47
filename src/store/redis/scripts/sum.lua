-- uses: common_list
-- ARGV: P role after n msgexp
-- A page of active mailboxes behind after, 100 at the most: where it ends, or
-- nothing behind the last one; messages in their queues, open requests; which
-- one has had messages for the longest time without a look at it, and for how
-- long in milliseconds, or -1.

local key, msgexp = list('active', ARGV[2]), tonumber(ARGV[5])
local n = math.min(ARGV[4], 100)
local uids = call('ZRANGEBYLEX', key, ARGV[3] == '' and '-' or '(' .. ARGV[3],
                  '+', 'LIMIT', 0, n)
local queued, pending, oldest, least = 0, 0, '', math.huge
local time = math.floor(now())

for _, uid in ipairs(uids) do
    local queue = P .. 'queue:' .. uid
    local waiting = call('LLEN', queue)

    pending = pending + call('ZCOUNT', P .. 'academy:requests:' .. uid, time,
                             '+inf')

    if waiting > 0 then
        queued = queued + waiting

        local left = call('PTTL', queue)

        if left >= 0 and left < least then
            oldest, least = uid, left
        end
    end
end

return { OK, uids[n] or '', queued, pending, oldest,
         msgexp > 0 and oldest ~= '' and math.max(1000 * msgexp - least, 0)
         or -1 }
