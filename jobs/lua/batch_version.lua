-- The next number for versions of a batch's results that are made otherwise; each is given once.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  tenant       whose it must be
-- Returns  int from 2 | 0 where there is no such batch
local batch = load_batch(ARGV[1])
if not batch or batch.tenant ~= ARGV[2] then return 0 end
return redis.call('HINCRBY', KEYS[1], 'redos', 1) + 1
