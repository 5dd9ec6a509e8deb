-- Checks what workers are said to hold, and to be kept for, against the records; repairs what is wrong if asked.
-- KEYS[1]  secluded   zset
-- ARGV[1]  repair     "1" = repair, "0" = only say
-- ARGV[2..] workers
-- Returns  {id of a job or name of a worker, violation, ...}: words for an operator
essential()
local found = {}
local function wrong(subject, words, mend)
  found[#found + 1] = subject
  found[#found + 1] = words
  if ARGV[1] == '1' then mend() end
end

for i = 2, #ARGV do
  local worker, has_suspect = ARGV[i], false
  local held = P .. 'held:' .. worker
  for _, id in ipairs(redis.call('SMEMBERS', held)) do
    local job = load(id)
    if not job or job.state ~= 'processing' or job.worker ~= worker then
      wrong(id, 'entry in the hands of ' .. worker .. ' is left over', function() redis.call('SREM', held, id) end)
    elseif job.suspect then
      has_suspect = true
    end
  end
  if redis.call('ZSCORE', KEYS[1], worker) == 'inf' and not has_suspect then
    wrong(worker, 'is kept for a suspect that it does not have', function() redis.call('ZREM', KEYS[1], worker) end)
  end
end
return found
