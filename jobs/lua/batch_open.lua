-- Begins the next part of the report; in a retry with the rows that stay as they are.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  epoch        int
-- ARGV[3]  part         int, the next one
-- ARGV[4]  count        int, its rows; 0 = it stays as it is in storage
-- ARGV[5..] item, row by turns: rows that stay
-- Returns  1 | {"gone"|"fenced"}. A part that was begun already stays as it is
essential()
local id, part = ARGV[1], ARGV[3]
local batch = load_batch(id)
local why = batch_refusal(batch, ARGV[2])
if why then return {why} end
if tonumber(batch.next_part or 0) ~= tonumber(part) then return 1 end
if tonumber(ARGV[4]) > 0 then
  redis.call('HSET', B .. id .. ':open', part, ARGV[4])
  for i = 5, #ARGV, 2 do redis.call('HSET', B .. id .. ':rows:' .. part, ARGV[i], ARGV[i + 1]) end
end
redis.call('HSET', KEYS[1], 'next_part', part + 1)
return 1
