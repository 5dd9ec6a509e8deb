-- Items that are in flight by our account though they have no job any more, or one that has ended: put right.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  epoch        int
-- ARGV[3..] item, job id by turns
-- Returns  items without a job: they are in flight no more | {"gone"|"fenced"}
essential()
local id = ARGV[1]
local why = batch_refusal(load_batch(id), ARGV[2])
if why then return {why} end
local lost = {}
for i = 3, #ARGV, 2 do
  local state = redis.call('HGET', P .. 'job:' .. ARGV[i + 1], 'state')
  if not state then
    redis.call('SREM', B .. id .. ':flight', ARGV[i])
    redis.call('SREM', B .. id .. ':ended', ARGV[i])
    lost[#lost + 1] = ARGV[i]
  elseif state ~= 'queued' and state ~= 'processing' then
    redis.call('SADD', B .. id .. ':ended', ARGV[i])
  end
end
return lost
