-- What /metrics and `photomend backlog` tell of the fleet beside `counts`. Reads only; its work is bounded by the number of
-- tenants that have something waiting, and by the limits below.
-- KEYS[1]  leases    zset; names the slot
-- ARGV[1]  running   int, jobs whose lane is looked up; of more, the rest is told by the same proportion
-- ARGV[2]  tenants   int, tenants of a lane whose oldest job is looked for: half of those that are served next, half of
--                    those served last
-- ARGV[3]  batches   int, batches that are looked at
-- ARGV[4..] lanes    names
-- Returns  {tally (a flat hash), load (as `load` gives it), effort (JSON or ""), running {lane, count, ...}, oldest
--          {lane, seconds, ...}, batches {{state, total, succeeded, failed, skipped, canceled, in flight, note}, ...}}
local t = now()

local function running()
  local held, seen, count = redis.call('ZCARD', KEYS[1]), 0, {}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)) do
    local lane = redis.call('HGET', P .. 'job:' .. id, 'lane')
    if lane then
      seen, count[lane] = seen + 1, (count[lane] or 0) + 1
    end
  end
  local out = {}
  for i = 4, #ARGV do
    out[#out + 1] = ARGV[i]
    out[#out + 1] = math.floor((count[ARGV[i]] or 0) * held / math.max(1, seen) + 0.5)
  end
  return out
end

-- Since when the first of these waits, {id, place, ...}; a submit's number is its time, in microseconds. A place is that
-- number but for suspects and for what was begun before.
local function since_of(entry, lane)
  if #entry == 0 then return math.huge end
  local place = tonumber(entry[2])
  if lane == 'suspect' then place = tonumber(redis.call('HGET', P .. 'job:' .. entry[1], 'seq') or t * 1000000) end
  return (place < 0 and place + BEGUN_AHEAD or place) / 1000000
end

-- Of a tenant: those that were begun stand before those that were not, whenever they were submitted.
local function oldest_of(tenant, lane)
  local backlog = P .. 'backlog:' .. lane .. ':' .. tenant
  local first = redis.call('ZRANGE', backlog, 0, 0, 'WITHSCORES')
  if #first == 0 or tonumber(first[2]) >= 0 then return since_of(first, lane) end
  local fresh = redis.call('ZRANGEBYSCORE', backlog, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return math.min(since_of(first, lane), since_of(fresh, lane))
end

local function oldest(lane)
  local ring, half, since = P .. 'ring:' .. lane, math.max(1, math.floor(tonumber(ARGV[2]) / 2)), t
  local tenants = redis.call('ZRANGE', ring, 0, half - 1)
  for _, tenant in ipairs(redis.call('ZRANGE', ring, math.max(half, redis.call('ZCARD', ring) - half), -1)) do
    tenants[#tenants + 1] = tenant
  end
  for _, tenant in ipairs(tenants) do since = math.min(since, oldest_of(tenant, lane)) end
  local sent = lane ~= 'suspect' and redis.call('ZRANGE', P .. 'sent:' .. lane, 0, 0)[1]
  local seq = sent and redis.call('HGET', P .. 'job:' .. sent, 'seq')
  if seq then since = math.min(since, tonumber(seq) / 1000000) end
  return num(math.max(0, t - since))
end

local ages = {}
for i = 4, #ARGV do
  ages[#ages + 1] = ARGV[i]
  ages[#ages + 1] = oldest(ARGV[i])
end

local batches = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'batches', 0, tonumber(ARGV[3]) - 1)) do
  local key = P .. 'batch:' .. id
  local told = redis.call('HMGET', key, 'state', 'total', 'n_succeeded', 'n_failed', 'n_skipped', 'n_canceled')
  if told[1] then
    for i = 2, 6 do told[i] = told[i] or '0' end
    told[7] = redis.call('SCARD', key .. ':flight')
    told[8] = redis.call('HGET', key, 'note') or ''
    batches[#batches + 1] = told
  end
end

return {redis.call('HGETALL', P .. 'tally'), load_told(), redis.call('GET', P .. 'effort') or '', running(), ages, batches}
