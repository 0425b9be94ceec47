-- uses: common_row
-- ARGV: P msgexp uid...
-- Mailboxes as they are shown, 20 at the most.

local out, time, msgexp = { OK }, now(), tonumber(ARGV[2])

for i = 3, math.min(#ARGV, 22) do
    out[i - 1] = row(ARGV[i], call('MGET', row_keys(ARGV[i])), time, msgexp)
end

return out
