-- The oldest decisions lie in storage: they are not needed here any more.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  chunk        int, which one that was
-- ARGV[3]  size         int, decisions of a chunk
-- Returns  1 | 0 where somebody has said so, or the batch is gone
local batch = load_batch(ARGV[1])
if not batch or tonumber(batch.decided or 0) ~= tonumber(ARGV[2]) then return 0 end
redis.call('LTRIM', B .. ARGV[1] .. ':decisions', ARGV[3], -1)
redis.call('HINCRBY', KEYS[1], 'decided', 1)
return 1
