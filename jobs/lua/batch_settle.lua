-- Writes rows down, each item's once, and removes the jobs that they tell of.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  epoch        int
-- ARGV[3..] groups of eight: part, item, state of the item, row (JSON), gpu_s, megapixels, job id or empty, 1 if a person
--           should look at it
-- Returns  how many are new | {"gone"|"fenced"}
essential()
local id = ARGV[1]
local batch = load_batch(id)
local why = batch_refusal(batch, ARGV[2])
if why then return {why} end
local t, new, gpu, size = now(), 0, 0, 0
for i = 3, #ARGV, 8 do
  local part, item, state, job = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 6]
  if redis.call('HEXISTS', B .. id .. ':open', part) == 1
    and redis.call('HSETNX', B .. id .. ':rows:' .. part, item, ARGV[i + 3]) == 1 then
    new = new + 1
    redis.call('HINCRBY', KEYS[1], 'n_' .. state, 1)
    gpu, size = gpu + tonumber(ARGV[i + 4]), size + tonumber(ARGV[i + 5])
    if ARGV[i + 7] == '1' and redis.call('SETBIT', B .. id .. ':flagged', item, 1) == 0 then
      redis.call('HINCRBY', KEYS[1], 'flagged', 1)
      redis.call('HINCRBY', KEYS[1], 'pending', 1)
    end
  end
  redis.call('SREM', B .. id .. ':flight', item)
  redis.call('SREM', B .. id .. ':ended', item)
  if job ~= '' then drop_item(job, load(job), t) end
end
if gpu > 0 then redis.call('HINCRBYFLOAT', KEYS[1], 'gpu_s', num(gpu)) end
if size > 0 then redis.call('HINCRBYFLOAT', KEYS[1], 'megapixels', num(size)) end
local kept = math.exp(-math.max(0, t - tonumber(batch.rate_at or t)) / RATE_S)
redis.call('HSET', KEYS[1], 'rate', num(tonumber(batch.rate or 0) * kept + new / RATE_S), 'rate_at', num(t))
redis.call('HINCRBY', KEYS[1], 'rev', 1)
return new
