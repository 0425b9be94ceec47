-- uses: common_sign common_held
-- ARGV: P uid client groups node seq n asked msgexp grave channel
-- Answers whether there are more, and up to n messages, leased as seq, seq + 1
-- and so on: fewer if they are large.  2: there may be some in a moment.
-- 3: there are none, and those that come are handed over to the node, which is
-- told by the channel; nothing is taken before that has ended, by stop.lua.

local uid, node = ARGV[2], ARGV[5]
local seq, n = tonumber(ARGV[6]), tonumber(ARGV[7])
local msgexp, grave = tonumber(ARGV[9]), tonumber(ARGV[10])

local queue, leases = P .. 'queue:' .. uid, P .. 'academy:lease:' .. node .. ':'
local v = call('MGET', P .. 'active:' .. uid, P .. 'owner:' .. uid,
               P .. 'heartbeat:' .. uid, P .. 'academy:held:' .. uid,
               P .. 'academy:hold:' .. uid, P .. 'academy:waits:' .. uid,
               P .. 'academy:gone:' .. node)
local code = open(uid, v[1], v[2], ARGV[3], ARGV[4])

if code ~= OK then
    return { code }
end

-- of a connection that this node has lost

if v[6] and string.sub(v[6], 1, 32) == node then
    call('DEL', P .. 'academy:waits:' .. uid)
    redis.pcall('PUBLISH', string.sub(v[6], 54), '-' .. uid)

    return { OK, 2 }
end

local out, listed, size, more = { OK, 0 }, {}, 0, true
local time = now()

-- LMOVE could be refused for lack of memory, and DEL is not

call('DEL', leases .. ARGV[6])

-- as long as others are going back that come before, there are none; nor for
-- a node that has left, until it says that it is there

if v[5] or v[7] then
    n, more, out[2] = 0, false, 2
end

while #out < n + 2 and size < 131072 do
    local number = string.format('%.0f', seq)
    local json = call('LMOVE', queue, leases .. number, 'LEFT', 'RIGHT')

    if not json then
        more = false
        break
    end

    if json == '<CLOSED>' then

        -- of a mailbox that a Python exchange has opened again

        call('DEL', leases .. number)
    else
        expire(leases .. number, msgexp)

        out[#out + 1] = json
        listed[#listed + 1] = string.format('%.0f', time * 1000000 + #out)
        listed[#listed + 1] = uid .. ':' .. number

        size = size + #json
        seq = seq + 1
    end
end

if more then
    out[2] = call('EXISTS', queue)
end

if out[2] == 0 and ARGV[11] ~= '' then
    call('SET', P .. 'academy:waits:' .. uid,
         node .. string.format(' %019.0f ', seq) .. ARGV[11], 'EX', 3600)
    out[2] = 3
end

if #listed > 0 then
    call('ZADD', P .. 'academy:leases:' .. node, unpack(listed))

    if v[4] then
        local leased, bytes = held_read(v[4])
        held_write(uid, leased + #out - 2, bytes, grave)
    end

elseif ARGV[8] ~= '1' then
    return out
end

if sign(uid, v[3], time, grave) then
    expire(queue, msgexp)
end

return out
