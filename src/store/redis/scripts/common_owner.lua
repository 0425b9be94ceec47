-- What the owner alone may do; groups do not help.

local function open_owned(uid, client)
    local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid)
    return open(uid, v[1], v[2], client, '')
end
