-- ARGV: P class subclasses client groups after n
-- A page of the agents behind after, sixty at the most, and fewer if many have
-- to be asked for their shares; what is wrong there leaves the index.

local class, all, client, groups = ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5]
local after, n = ARGV[6], math.min(ARGV[7], 60)

local index = P .. (all and 'academy:class:' or 'academy:first:') .. class
local uids = call('ZRANGEBYLEX', index, after == '' and '-' or '(' .. after,
                  '+', 'LIMIT', 0, n)

if #uids == 0 then
    return { OK, '', '' }
end

local keys, found, gone, asked, last = {}, {}, {}, 0, uids[n]

for i, uid in ipairs(uids) do
    keys[3 * i - 2] = P .. 'active:' .. uid
    keys[3 * i - 1] = P .. 'agent:' .. uid
    keys[3 * i] = P .. 'owner:' .. uid
end

local v = call('MGET', unpack(keys))

for i, uid in ipairs(uids) do
    local mro = v[3 * i - 1] or ''

    if v[3 * i - 2] ~= 'ACTIVE'
       or not (all and among(class, mro)
               or string.sub(mro .. ',', 1, #class + 1) == class .. ',')
    then
        gone[#gone + 1] = uid

    else
        if permitted(uid, v[3 * i], client, groups) then
            found[#found + 1] = uid
        end

        if groups ~= '' and v[3 * i] ~= client .. '_' then
            asked = asked + 1
        end
    end

    if asked == 8 and i < #uids and nmine and #nmine > 16 then
        last = uid
        break
    end
end

if #gone > 0 then
    call('ZREM', index, unpack(gone))
end

return { OK, last or '', table.concat(found) }
