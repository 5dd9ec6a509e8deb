-- Entries of an index whose job has no record: dropped if asked. Checked and dropped in one call, so a job that has
-- just been submitted is never taken for one.
-- KEYS[1]  an index   zset of job ids
-- ARGV[1]  repair     "1" = drop, "0" = only say
-- ARGV[2..] ids       to look at
-- Returns  {id, ...} without a record
local strays = {}
for i = 2, #ARGV do
  if redis.call('EXISTS', P .. 'job:' .. ARGV[i]) == 0 and redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    strays[#strays + 1] = ARGV[i]
    if ARGV[1] == '1' then redis.call('ZREM', KEYS[1], ARGV[i]) end
  end
end
return strays
