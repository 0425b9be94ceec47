-- What is handed over to a node goes to a stream that is there as long as the
-- node is: an entry is the mailbox, which lease would have been the node's next
-- when it began to wait, for how long the message may be queued, and its text.

local function handed_open(node)
    local handed = P .. 'academy:handed:' .. node

    if call('EXISTS', handed) == 0 then
        local id = redis.pcall('XADD', handed, '*', '', '')

        if type(id) == 'string' then
            call('XDEL', handed, id)
        end
    end
end
