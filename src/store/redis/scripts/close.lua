-- uses: common_held
-- ARGV: P uid n grave msgexp
-- Answers up to n open requests of a closed mailbox in its place, 25 at most,
-- and tells whether there are more, and how many responses that made.  The
-- texts are those of academy-py 1.0.0, which 0.5.0 reads.

local uid, n = ARGV[2], math.min(ARGV[3], 25)
local grave, msgexp = tonumber(ARGV[4]), tonumber(ARGV[5])

local requests = P .. 'academy:requests:' .. uid
local tags = {}

if call('GET', P .. 'active:' .. uid) ~= 'ACTIVE' then
    tags = call('ZRANGE', requests, 0, n - 1)
end

if #tags == 0 then
    call('SREM', P .. 'academy:closing', uid)
    return { OK, 0, 0 }
end

local keys, sources, notices = {}, {}, {}

for i, tag in ipairs(tags) do
    keys[i] = P .. 'request:' .. uid .. ':' .. tag
end

local headers = call('MGET', unpack(keys))

call('DEL', unpack(keys))
call('ZREM', requests, unpack(tags))

local function text(value)
    return value and value ~= cjson.null and cjson.encode(value) or 'null'
end

local function entity(id)
    return '{"uid":' .. text(id.uid) .. ',"name":' .. text(id.name)
           .. ',"role":' .. text(id.role or 'agent') .. '}'
end

local function notice(header)
    local dest = entity(header.dest)

    return '{"header":{"src":' .. dest .. ',"dest":' .. entity(header.src)
           .. ',"tag":' .. text(header.tag) .. ',"label":' .. text(header.label)
           .. ',"kind":"response","protocol_version":"1.1"'
           .. ',"academy_version":"1.0.0"},"body":{"kind":'
           .. '"academy-error-response","error_code":0,"mailbox_id":' .. dest
           .. '}}', header.src.uid
end

keys = {}

for _, header in ipairs(headers) do
    local right, value = pcall(cjson.decode, header or '')

    if right then
        local made, json, src = pcall(notice, value)

        if made and type(src) == 'string' then
            notices[#notices + 1] = json
            sources[#sources + 1] = src
            keys[#keys + 1] = P .. 'active:' .. src
            keys[#keys + 1] = P .. 'academy:held:' .. src
        end
    end
end

local v, made = #keys > 0 and call('MGET', unpack(keys)), 0

for i, src in ipairs(sources) do
    if v[2 * i - 1] == 'ACTIVE' then
        made = made + 1

        local queue = P .. 'queue:' .. src

        if call('RPUSH', queue, notices[i]) == 1 then
            expire(queue, msgexp)
        end

        if v[2 * i] then
            local leased, bytes = held_read(call('GET', keys[2 * i]))
            held_write(src, leased, bytes + #notices[i])
        end
    end
end

if call('EXISTS', requests) == 1 then
    return { OK, 1, made }
end

call('SREM', P .. 'academy:closing', uid)

return { OK, 0, made }
