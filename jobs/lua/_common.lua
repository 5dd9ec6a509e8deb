-- Read before every script of this folder (Redis has no `require`): keys, clock, legal moves, and the steps that
-- several transitions share. Nothing here runs by itself.
--
-- Keys (all in one cluster slot by the hash tag; scripts derive most of them from the record they read):
--   job:<id>                  hash    the record; fields below
--   idem:<tenant>:<sha256>    string  "<fingerprint> <job id>", with a TTL
--   tenant:<tenant>           hash    weight, quota, vt:<lane> (virtual time kept while it has nothing waiting)
--   index:<tenant>:<state>    zset    id -> seq; each job is in exactly one; gives lists, counts and quota
--   backlog:<lane>:<tenant>   zset    id -> seq; queued and not yet sent
--   ring:<lane>               zset    tenant -> virtual time; tenants with a backlog
--   lanes                     hash    lane -> virtual time of the last tenant served
--   sent:<lane>               zset    id -> when it was sent; queued, sent and unclaimed
--   leases                    zset    id -> when the lease ends; processing
--   deadlines                 zset    id -> deadline; queued jobs that have one
--   outbox, undelivered       zset    delivery id -> when due; -> when given up
--   delivery:<id>             hash    at, attempt, error
--   expiry, retire            zset    id -> when its objects go; id -> when its record goes
--   trash                     zset    "job <id>" or "upload <id>" -> when to delete its objects (again)
--   uploads                   zset    id -> when it expires; those that no unfinished job uses
--   upload:<id>               hash    spec, expires_at, pins (unfinished jobs that need it), gone (being deleted)
--   seq                       string  last seq given
--
-- Record fields: v, state, tenant, lane, seq (microseconds, unique, growing: order and time of submission), cost, rev,
--   spec (JSON, never rewritten), and where set: events, deadline, upload, attempt, epoch, worker, claim, lease_s,
--   lease_until, started_at, completed_at, cancel, progress, result, failure.
--
-- policy (ARGV of every script that may end a job): JSON {result_ttl_s, record_ttl_s, max_attempts,
--   deadline_failure, interrupted_failure}, the last two being the JSON that goes into `failure`.
--
-- A script either refuses before its first write or does all of its writes.

local P = '{photomend}:'

local MOVES = {
  queued = {processing = true, canceled = true, failed = true},
  processing = {queued = true, succeeded = true, failed = true, canceled = true},
  succeeded = {expired = true},
  failed = {expired = true},
  canceled = {expired = true},
  expired = {},
}

local EVENTS = {succeeded = 'completed', failed = 'failed', canceled = 'canceled'}

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

-- For every script that runs, returns or ends work which was accepted: at maxmemory it must go on. Redis looks at its
-- memory at a script's first write only, and does not refuse one that can only free some. `submit` and `upload` lack
-- this, so they are what is refused.
local function essential()
  redis.call('ZREM', P .. 'leases', '')
end

local function num(x)
  return string.format('%.6f', x)
end

local function legal(from, to)
  return MOVES[from] ~= nil and MOVES[from][to] == true
end

-- The record as a table, or nil.
local function load(id)
  local flat = redis.call('HGETALL', P .. 'job:' .. id)
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

local function reply(status, id)
  return {status, redis.call('HGETALL', P .. 'job:' .. id), id}
end

-- Every change of state goes through here. `fields` is a flat list for HSET.
local function move(id, job, to, fields)
  if not legal(job.state, to) then error('illegal move ' .. job.state .. ' -> ' .. to) end
  redis.call('ZREM', P .. 'index:' .. job.tenant .. ':' .. job.state, id)
  redis.call('ZADD', P .. 'index:' .. job.tenant .. ':' .. to, job.seq, id)
  redis.call('HSET', P .. 'job:' .. id, 'state', to, unpack(fields))
  redis.call('HINCRBY', P .. 'job:' .. id, 'rev', 1)
  job.state = to
end

-- Takes a tenant without a backlog out of the ring and keeps its virtual time: leaving and coming back gains nothing.
local function park(lane, tenant)
  local tag = redis.call('ZSCORE', P .. 'ring:' .. lane, tenant)
  if tag then
    redis.call('ZREM', P .. 'ring:' .. lane, tenant)
    redis.call('HSET', P .. 'tenant:' .. tenant, 'vt:' .. lane, tag)
  end
end

local function enqueue(id, job)
  redis.call('ZADD', P .. 'backlog:' .. job.lane .. ':' .. job.tenant, job.seq, id)
  if not redis.call('ZSCORE', P .. 'ring:' .. job.lane, job.tenant) then
    local lane_time = tonumber(redis.call('HGET', P .. 'lanes', job.lane) or 0)
    local own_time = tonumber(redis.call('HGET', P .. 'tenant:' .. job.tenant, 'vt:' .. job.lane) or 0)
    redis.call('ZADD', P .. 'ring:' .. job.lane, num(math.max(lane_time, own_time)), job.tenant)
  end
  if job.deadline then redis.call('ZADD', P .. 'deadlines', job.deadline, id) end
end

-- Takes a queued job out of wherever it waits.
local function unqueue(id, job)
  redis.call('ZREM', P .. 'deadlines', id)
  if redis.call('ZREM', P .. 'sent:' .. job.lane, id) == 1 then return end
  local backlog = P .. 'backlog:' .. job.lane .. ':' .. job.tenant
  if redis.call('ZREM', backlog, id) == 1 and redis.call('EXISTS', backlog) == 0 then park(job.lane, job.tenant) end
end

-- Puts a callback into the outbox if the submitter wants this event. Its id is derived: no event can be told twice.
local function emit(id, job, event, t)
  if not job.events or not string.find(',' .. job.events .. ',', ',' .. event .. ',', 1, true) then return end
  local delivery = 'msg_' .. string.sub(id, 5) .. '_' .. event
  redis.call('HSET', P .. 'delivery:' .. delivery, 'at', num(t), 'attempt', 0)
  redis.call('ZADD', P .. 'outbox', num(t), delivery)
end

-- An upload that no unfinished job needs any more may expire.
local function unpin(upload, t)
  local key = P .. 'upload:' .. upload
  if redis.call('EXISTS', key) == 0 then return end
  if redis.call('HINCRBY', key, 'pins', -1) <= 0 then
    local expires = tonumber(redis.call('HGET', key, 'expires_at'))
    redis.call('ZADD', P .. 'uploads', num(math.max(expires, t)), upload)
  end
end

-- Ends a job: succeeded, failed or canceled. The one place where terminal events are made.
local function finish(id, job, to, t, policy, fields)
  redis.call('ZREM', P .. 'leases', id)
  unqueue(id, job)
  fields[#fields + 1] = 'completed_at'
  fields[#fields + 1] = num(t)
  move(id, job, to, fields)
  redis.call('HDEL', P .. 'job:' .. id, 'lease_until', 'lease_s', 'claim')
  redis.call('ZADD', P .. 'expiry', num(t + policy.result_ttl_s), id)
  emit(id, job, EVENTS[to], t)
  if job.upload then unpin(job.upload, t) end
end

-- Takes a processing job from its worker: back to its place in the backlog (before everything submitted later), or to
-- its end where its owner gave it up, its deadline is past or it has been interrupted too often.
local function put_back(id, job, t, policy)
  if job.cancel then return finish(id, job, 'canceled', t, policy, {'attempt', job.attempt}) end
  if job.deadline and t >= tonumber(job.deadline) then
    return finish(id, job, 'failed', t, policy, {'attempt', job.attempt, 'failure', policy.deadline_failure})
  end
  if tonumber(job.attempt) >= policy.max_attempts then
    return finish(id, job, 'failed', t, policy, {'failure', policy.interrupted_failure})
  end
  redis.call('ZREM', P .. 'leases', id)
  move(id, job, 'queued', {'attempt', job.attempt})
  redis.call('HDEL', P .. 'job:' .. id, 'lease_until', 'lease_s', 'claim', 'progress')
  enqueue(id, job)
end

-- Why the holder of `epoch` may not write, or nil: 'gone', 'fenced' (the job is, or may soon be, another attempt's)
-- or 'illegal' (this very attempt ended it already).
local function refusal(job, epoch)
  if not job then return 'gone' end
  if (job.epoch or '0') ~= epoch or job.state == 'queued' then return 'fenced' end
  if job.state ~= 'processing' then return 'illegal' end
  return nil
end
