-- A worker process is gone: the jobs that it still holds are put back at once instead of when their leases end. A worker's
-- name is unique over restarts, so what another has claimed meanwhile is not touched.
-- KEYS[1]  held:<worker>     set
-- KEYS[2]  lapsed:<worker>   set
-- ARGV[1]  policy          JSON, see _common.lua
-- ARGV[2]  worker
-- ARGV[3]  charge          "1" = the attempts count, "0" = they never were (it was told to go)
-- ARGV[4]  cause           of its death if that was its own fault, such as SIGSEGV: its jobs become suspects; or empty
-- Returns  {id, state, ...} of the jobs that it held, and of those accused whose leases had ended already
essential()
local policy, worker, t = cjson.decode(ARGV[1]), ARGV[2], now()
local out = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local job = load(id)
  if job and job.state == 'processing' and job.worker == worker then
    if ARGV[4] ~= '' then
      accuse(id, job, t, ARGV[4])
    elseif ARGV[3] == '0' then
      job.attempt = string.format('%d', tonumber(job.attempt) - 1)
    end
    put_back(id, job, t, policy, 'process_ended')
    out[#out + 1] = id
    out[#out + 1] = job.state
  end
end
for _, id in ipairs(ARGV[4] ~= '' and redis.call('SMEMBERS', KEYS[2]) or {}) do
  local job = load(id)
  if has_lapsed(id, job, worker) then
    accuse_lapsed(id, job, t, policy, ARGV[4])
    out[#out + 1] = id
    out[#out + 1] = job.state
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', P .. 'secluded', worker)
redis.call('ZREM', P .. 'workers', worker)
redis.call('HDEL', P .. 'slots', worker)
return out
