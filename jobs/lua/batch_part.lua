-- A part of the report lies in storage: its rows are not needed here any more, but which items a retry would try.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  epoch        int
-- ARGV[3]  part         int
-- ARGV[4]  generation   int, of the rows in storage
-- ARGV[5]  part_rows    int, a multiple of 8
-- ARGV[6..] items       that failed or were canceled
-- Returns  1 | {"gone"|"fenced"}
essential()
local id, part = ARGV[1], tonumber(ARGV[3])
local batch = load_batch(id)
local why = batch_refusal(batch, ARGV[2])
if why then return {why} end
if redis.call('HDEL', B .. id .. ':open', ARGV[3]) == 0 then return 1 end
local retry, bytes = B .. id .. ':retry', ARGV[5] / 8
redis.call('SETRANGE', retry, part * bytes, string.rep('\0', bytes))
for i = 6, #ARGV do redis.call('SETBIT', retry, ARGV[i], 1) end
redis.call('SETRANGE', B .. id .. ':parts', part, string.char(ARGV[4]))
redis.call('DEL', B .. id .. ':rows:' .. ARGV[3])
return 1
