-- A mailbox as it is shown: state, owner, classes, name, queued, open requests,
-- answered, sent, shares; milliseconds since the last sign of life, and for
-- which messages have waited at least, or -1; what is leased and its bytes, or
-- nothing.

local function row(uid, v, time, msgexp)
    local queue = P .. 'queue:' .. uid
    local closed = v[1] ~= 'ACTIVE'
    local queued = closed and 0 or call('LLEN', queue)
    local left = queued > 0 and call('PTTL', queue) or -1
    local beat = tonumber(v[5] or '')

    return { v[1] or '', v[2] or '', string.match(v[3] or '', '[^,]*'),
             call('HGET', P .. 'academy:names', uid) or '', queued,
             closed and 0 or call('ZCOUNT', P .. 'academy:requests:' .. uid,
                                  math.floor(time), '+inf'),
             tonumber(v[4] or 0), tonumber(v[6] or 0),
             call('SCARD', P .. 'share:' .. uid),
             beat and math.max(math.floor(1000 * (time - beat)), 0) or -1,
             msgexp > 0 and left >= 0 and math.max(1000 * msgexp - left, 0)
             or -1, v[7] or '' }
end

local function row_keys(uid)
    return P .. 'active:' .. uid, P .. 'owner:' .. uid, P .. 'agent:' .. uid,
           P .. 'completions:' .. uid, P .. 'heartbeat:' .. uid,
           P .. 'outgoing:' .. uid, P .. 'academy:held:' .. uid
end
