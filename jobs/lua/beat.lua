-- Renews the lease of a worker that still owns the job, and stores its progress. A job that shall stop is not renewed:
-- a worker that does not obey loses it when the lease ends.
-- KEYS[1]  job:<id>     hash
-- ARGV[1]  id           job id
-- ARGV[2]  epoch        int, of the claim
-- ARGV[3]  lease_s      float > 0
-- ARGV[4]  percent      int 0 to 100, or empty for no news; never made smaller within one attempt
-- ARGV[5]  stage        name, goes with percent
-- Returns  "ok" | "cancel" | "deadline" | "fenced"
essential()
local got = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'cancel', 'deadline', 'progress')
if got[1] ~= 'processing' or got[2] ~= ARGV[2] then return 'fenced' end
if got[3] then return 'cancel' end
local t = now()
if got[4] and t >= tonumber(got[4]) then return 'deadline' end

local lease_until = num(t + tonumber(ARGV[3]))
redis.call('ZADD', P .. 'leases', lease_until, ARGV[1])
redis.call('HSET', KEYS[1], 'lease_until', lease_until, 'lease_s', ARGV[3])
if ARGV[4] ~= '' then
  local percent = tonumber(ARGV[4])
  local before = got[5] and tonumber(string.match(got[5], '^(%d+)')) or 0
  local progress = string.format('%d %s', math.max(percent, before), ARGV[5])
  if progress ~= got[5] then
    redis.call('HSET', KEYS[1], 'progress', progress)
    redis.call('HINCRBY', KEYS[1], 'rev', 1)
  end
end
return 'ok'
