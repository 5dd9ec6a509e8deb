-- Read before every script of this folder (Redis has no `require`): keys, clock, legal moves, and the steps that
-- several transitions share. Nothing here runs by itself.
--
-- Keys (all in one cluster slot by the hash tag; scripts derive most of them from the record they read):
--   job:<id>                  hash    the record; fields below
--   idem:<tenant>:<sha256>    string  "<fingerprint> <job id>", with a TTL
--   tenants                   zset    tenant -> when it was set up first
--   used:<tenant>             hash    day (UTC), and what was used on it: megapixels, bytes
--   spent:<tenant>            hash    day (UTC) -> seconds that devices worked for it, of SPENT_DAYS days
--   paces                     hash    sort of job -> "<jobs> <picture_s> <upsample_s> <megapixels>", of one job in the mean
--   tenant:<tenant>           hash    weight, quota, megapixels and bytes (a day), inputs and their code, seconds that its
--                                     things are kept where not the policy's (upload_ttl, result_ttl, record_ttl),
--                                     vt:<lane> (virtual time kept while it has nothing waiting)
--   key:<id>                  hash    tenant, sha256, scopes, created_at, code, and where set: label, expires_at, used_at,
--                                     revoked_at (then without sha256 and code, and with a TTL)
--   keys:<tenant>             zset    API key -> when it was made
--   index:<tenant>:<state>    zset    id -> seq; each job is in exactly one; gives lists, counts and quota
--   backlog:<lane>:<tenant>   zset    id -> its place, see `place_of`; queued and not yet sent. Suspects wait in a lane of
--                                     their own, `suspect`
--   ring:<lane>               zset    tenant -> virtual time; tenants with a backlog
--   lanes                     hash    lane -> virtual time of the last tenant served
--   sent:<lane>               zset    id -> when it was sent; queued, sent and unclaimed
--   hungry                    set     lanes in which a feeder found fewer jobs than it could send
--   nudge                     list    one word or none: a feeder, which waits for it, is to look now
--   leases                    zset    id -> when the lease ends; processing
--   held:<worker>             set     ids that a worker process holds
--   lapsed:<worker>           set     ids whose leases ended while it held them; for a while, until its end is known
--   secluded                  zset    worker -> until when it is given nothing but a suspect; +inf while it runs one
--   deadlines                 zset    id -> deadline; queued jobs that have one
--   outbox, undelivered       zset    delivery id -> when due; -> when given up
--   delivery:<id>             hash    at, attempt, before (attempts before the last replay), delivered_at, error; it stays
--                                     as long as the record
--   gone                      zset    "<tenant> <endpoint>" that answered 410 -> until when it is left alone
--   dead                      zset    id -> when it was given up, while its record lasts
--   expiry, retire            zset    id -> when its objects go; id -> when its record goes
--   trash                     zset    "job <id>" or "upload <id>" -> when to delete its objects (again)
--   uploads                   zset    id -> when it expires; those that no unfinished job uses
--   upload:<id>               hash    spec, expires_at, pins (unfinished jobs that need it), gone (being deleted)
--   seq                       string  last seq given
--   load                      hash    jobs, work (of everything unfinished, as estimated at submit), rate (work done a
--                                     second, exponentially weighted over busy time), seen (busy time in it), at
--   tally                     hash    what only grows, for /metrics: "submitted <lane>", "ended <state> <code>", "returned
--                                     <reason>", "resent", "suspected <cause>", "faces|megapixels|gpu_s <tenant>"
--   effort                    string  JSON, what a job takes of the worker that spoke last; see jobs/effort.py
--
-- Record fields: v, state, tenant, lane, seq (microseconds, unique, growing: order and time of submission), cost, rev,
--   spec (JSON, never rewritten), code (that it is ours; see jobs/signing.py), and where set: events, deadline, upload, attempt, epoch, worker, claim, lease_s,
--   lease_until, started_at, completed_at, cancel, progress, result, failure; suspect (how many processes died under it
--   while it ran alone; there only while it is under suspicion), deaths (JSON list: every process that died under it by a
--   fault of its own), dead (when it was given up), replayed_as (the last job that asks for the same again); reviews (JSON list: every
--   decision of a person about its result), reviewed (the latest decision); batch and item (of which batch it is which
--   line; keys of batches are told of in _batch.lua).
--
-- policy (ARGV of every script that may end a job): JSON {result_ttl_s, record_ttl_s, max_attempts, max_deaths,
--   deadline_failure, interrupted_failure, poison_failure}, the last three being the JSON that goes into `failure`.
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

-- Each death puts a suspect so far back among the suspects (microseconds, as seq): innocents are cleared first.
local STEP_BACK = 86400 * 1000000
-- Puts a job before all that can have been submitted (microseconds, as seq); below 2^53, so that its order stays exact.
local BEGUN_AHEAD = 4e15

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

-- Counts something for /metrics. Few things have a name here, so the hash stays small.
local function count(what, by)
  redis.call('HINCRBY', P .. 'tally', what, by or 1)
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

-- Where a job waits.
local function lane_of(job)
  return job.suspect and 'suspect' or job.lane
end

-- Where a job stands among its tenant's in its lane, the least first: in the order of submission, but one that was begun
-- before those that were not. It may have run out of turn, and whoever saw it run does not wait for all of them again.
local function place_of(job)
  local place = tonumber(job.seq)
  if job.suspect then return place + tonumber(job.suspect) * STEP_BACK end
  return job.epoch and place - BEGUN_AHEAD or place
end

-- Has a feeder look at once instead of at its next round: there is room and something to fill it with.
local function nudge()
  if redis.call('EXISTS', P .. 'nudge') == 0 then redis.call('RPUSH', P .. 'nudge', 1) end
end

local function enqueue(id, job)
  local lane = lane_of(job)
  redis.call('ZADD', P .. 'backlog:' .. lane .. ':' .. job.tenant, string.format('%.0f', place_of(job)), id)
  if not redis.call('ZSCORE', P .. 'ring:' .. lane, job.tenant) then
    local lane_time = tonumber(redis.call('HGET', P .. 'lanes', lane) or 0)
    local own_time = tonumber(redis.call('HGET', P .. 'tenant:' .. job.tenant, 'vt:' .. lane) or 0)
    redis.call('ZADD', P .. 'ring:' .. lane, num(math.max(lane_time, own_time)), job.tenant)
  end
  if job.deadline then redis.call('ZADD', P .. 'deadlines', job.deadline, id) end
  if redis.call('SREM', P .. 'hungry', lane) == 1 then nudge() end
end

-- Takes a queued job out of wherever it waits.
local function unqueue(id, job)
  redis.call('ZREM', P .. 'deadlines', id)
  if redis.call('ZREM', P .. 'sent:' .. job.lane, id) == 1 then return end
  local lane = lane_of(job)
  local backlog = P .. 'backlog:' .. lane .. ':' .. job.tenant
  if redis.call('ZREM', backlog, id) == 1 and redis.call('EXISTS', backlog) == 0 then park(lane, job.tenant) end
end

-- A job that was sent and not claimed: back to its place. Returns 1 if it was on its way.
local function hand_back(id, job)
  local was_sent = redis.call('ZREM', P .. 'sent:' .. job.lane, id)
  if was_sent == 1 then enqueue(id, job) end
  return was_sent
end

-- The next job of a lane, out of its backlog, or nil: of the tenant served least, by cost and weight.
-- Start-time fair queueing: a tenant's virtual time grows by cost / weight with each job; one that comes back after a
-- pause starts no earlier than the lane is now, so idling saves nothing up.
local function next_in(lane)
  local ring, id = P .. 'ring:' .. lane, nil
  while not id do
    local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    if #first == 0 then return nil end
    local tenant, tag = first[1], tonumber(first[2])
    local backlog = P .. 'backlog:' .. lane .. ':' .. tenant
    local head = redis.call('ZRANGE', backlog, 0, 0)[1]
    if head then
      redis.call('ZREM', backlog, head)
      local got = redis.call('HMGET', P .. 'job:' .. head, 'state', 'cost')
      -- An entry without a queued record is nothing to run; dropping it is all there is to do.
      if got[1] == 'queued' then
        id = head
        redis.call('HSET', P .. 'lanes', lane, num(tag))
        local weight = tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'weight') or 1)
        redis.call('ZADD', ring, num(tag + tonumber(got[2]) / weight), tenant)
      end
    end
    if redis.call('EXISTS', backlog) == 0 then park(lane, tenant) end
  end
  return id
end

-- Puts a callback into the outbox if the submitter wants this event. Its id is derived: no event can be told twice.
local function emit(id, job, event, t)
  if not job.events or not string.find(',' .. job.events .. ',', ',' .. event .. ',', 1, true) then return end
  local delivery = 'msg_' .. string.sub(id, 5) .. '_' .. event
  redis.call('HSET', P .. 'delivery:' .. delivery, 'at', num(t), 'attempt', 0)
  redis.call('ZADD', P .. 'outbox', num(t), delivery)
end

-- The same for a batch.
local function emit_batch(id, batch, event, t)
  local callback = cjson.decode(batch.spec).callback
  if type(callback) ~= 'table' then return end
  for _, wanted in ipairs(callback.events) do
    if wanted == 'batch.' .. event then
      -- A retry ends once more: another event.
      local delivery = 'batchmsg_' .. string.sub(id, 7) .. '_' .. batch.generation .. '_' .. event
      redis.call('HSET', P .. 'delivery:' .. delivery, 'at', num(t), 'attempt', 0)
      redis.call('ZADD', P .. 'outbox', num(t), delivery)
    end
  end
end

-- The record that a delivery tells of: its key, or nil.
local function told_of(delivery)
  local job, batch = string.match(delivery, '^msg_(%x+)_'), string.match(delivery, '^batchmsg_(%x+)_')
  return job and P .. 'job:job_' .. job or batch and P .. 'batch:batch_' .. batch
end

-- The same as a table, or nil.
local function load_told_of(delivery)
  local key, record = told_of(delivery), {}
  local flat = key and redis.call('HGETALL', key) or {}
  for i = 1, #flat, 2 do record[flat[i]] = flat[i + 1] end
  return #flat > 0 and record or nil
end

-- Where a job's callbacks go: the URL without its query, for its tenant.
local function endpoint(job)
  return job.tenant .. ' ' .. string.match(cjson.decode(job.spec).callback.url, '^[^?#]*')
end

-- Whether a job's endpoint answered 410 Gone and is still left alone.
local function gone(job, t)
  if redis.call('EXISTS', P .. 'gone') == 0 then return false end
  local until_t = redis.call('ZSCORE', P .. 'gone', endpoint(job))
  return until_t and tonumber(until_t) > t
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

-- Takes a processing job out of its worker's hands.
local function let_go(id, job)
  redis.call('ZREM', P .. 'leases', id)
  redis.call('SREM', P .. 'held:' .. job.worker, id)
  if job.suspect then redis.call('ZREM', P .. 'secluded', job.worker) end
end

-- How fast work gets done is remembered over so many seconds of busy time.
local MEMORY_S = 300

local function load_of()
  local said = redis.call('HMGET', P .. 'load', 'jobs', 'work', 'rate', 'seen', 'at')
  local out = {}
  for i, name in ipairs({'jobs', 'work', 'rate', 'seen', 'at'}) do out[name] = tonumber(said[i] or 0) end
  return out
end

local function set_load(load)
  redis.call('HSET', P .. 'load', 'jobs', math.max(0, load.jobs), 'work', num(math.max(0, load.work)),
    'rate', num(load.rate), 'seen', num(load.seen), 'at', num(load.at))
end

-- A job came. Time in which there was nothing to do says nothing of how fast it is done.
local function add_load(cost, t)
  local load = load_of()
  if load.jobs <= 0 then
    load.jobs, load.work, load.at = 0, 0, t
  end
  load.jobs, load.work = load.jobs + 1, load.work + tonumber(cost)
  set_load(load)
end

-- A job ended; `is_done`: by a worker's work.
local function take_load(cost, t, is_done)
  local load = load_of()
  local passed = math.max(0, t - load.at)
  local kept = math.exp(-passed / MEMORY_S)
  load.rate, load.seen, load.at = load.rate * kept, math.min(load.seen + passed, 1e6), t
  if is_done then load.rate = load.rate + tonumber(cost) / MEMORY_S end
  load.jobs, load.work = load.jobs - 1, load.work - tonumber(cost)
  if load.jobs <= 0 then load.work = 0 end
  set_load(load)
end

-- {unfinished jobs, their work, work done a second as text; 0 = not known yet}
local function load_told()
  local load = load_of()
  -- While nothing ends it gets slower.
  local passed = load.jobs > 0 and math.max(0, now() - load.at) or 0
  -- The mean of a memory that is not full yet.
  local share = 1 - math.exp(-(load.seen + passed) / MEMORY_S)
  return {load.jobs, num(load.work), num(share > 0 and load.rate * math.exp(-passed / MEMORY_S) / share or 0)}
end

-- What a job costs whatever its size; the rest of a job's first cost is the estimate of its megapixels. As in backlog.py.
local BASE_COST = 1

local function day_of(t)
  return string.format('%d', math.floor(t / 86400))
end

-- What a tenant has used today (UTC): `kind` is megapixels or bytes.
local function used(tenant, kind, t)
  local got = redis.call('HMGET', P .. 'used:' .. tenant, 'day', kind)
  return got[1] == day_of(t) and tonumber(got[2] or 0) or 0
end

local function charge(tenant, kind, amount, t)
  local key = P .. 'used:' .. tenant
  if redis.call('HGET', key, 'day') ~= day_of(t) then
    redis.call('DEL', key)
    redis.call('HSET', key, 'day', day_of(t))
    redis.call('EXPIRE', key, 2 * 86400)
  end
  redis.call('HINCRBYFLOAT', key, kind, num(amount))
end

-- How long a tenant's results or records are kept: `name` is result_ttl or record_ttl.
local function kept_s(tenant, name, policy)
  return tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, name) or policy[name .. '_s'])
end

local function until_tomorrow(t)
  return math.ceil(86400 - t % 86400)
end

-- Puts right what a job was charged at submit, while that day's account is open. Without a result it cost nothing.
local function correct_charge(job, megapixels)
  local key = P .. 'used:' .. job.tenant
  if redis.call('HGET', key, 'day') ~= day_of(tonumber(job.seq) / 1000000) then return end
  redis.call('HINCRBYFLOAT', key, 'megapixels', num((megapixels or 0) - (tonumber(job.cost) - BASE_COST)))
end

-- Days that a tenant's seconds on devices are kept for: a year and a month, for a bill.
local SPENT_DAYS = 400

-- A device worked so long for a tenant.
local function spend(tenant, seconds, t)
  if seconds <= 0 then return end
  local key, day = P .. 'spent:' .. tenant, day_of(t)
  if redis.call('HEXISTS', key, day) == 0 then
    for _, old in ipairs(redis.call('HKEYS', key)) do
      if tonumber(old) <= tonumber(day) - SPENT_DAYS then redis.call('HDEL', key, old) end
    end
    redis.call('EXPIRE', key, SPENT_DAYS * 86400)
  end
  redis.call('HINCRBYFLOAT', key, day, num(seconds))
end

-- Weight of the newest job in what is known of its sort; the first ones count alike.
local PACE_RATE = 0.02
-- Sorts that are remembered: models, backgrounds and engines are few, whatever anybody asks for.
local MOST_PACES = 500

-- How long a device works for jobs of a sort: for each picture, and for enlarging, which grows with its megapixels.
local function note_pace(sort, gpu_s, upsample_s, megapixels)
  local known = redis.call('HGET', P .. 'paces', sort)
  if not known and redis.call('HLEN', P .. 'paces') >= MOST_PACES then return end
  local jobs, new = 1, {gpu_s - upsample_s, upsample_s, megapixels}
  if known then
    local told = {string.match(known, '^(%S+) (%S+) (%S+) (%S+)$')}
    jobs = tonumber(told[1]) + 1
    local rate = math.max(PACE_RATE, 1 / jobs)
    for i = 1, 3 do new[i] = tonumber(told[i + 1]) + rate * (new[i] - tonumber(told[i + 1])) end
  end
  redis.call('HSET', P .. 'paces', sort, string.format('%d %.6g %.6g %.6g', jobs, new[1], new[2], new[3]))
end

-- Counts an end under its error's code, which comes first in the JSON of a failure: its keys are sorted.
local function count_end(to, fields)
  local code = ''
  for i = 1, #fields, 2 do
    if fields[i] == 'failure' then code = string.match(fields[i + 1], '"code":"([%w_]+)"') or '' end
  end
  count('ended ' .. to .. ' ' .. code)
end

-- Ends a job: succeeded, failed or canceled. The one place where terminal events are made.
local function finish(id, job, to, t, policy, fields, megapixels)
  count_end(to, fields)
  correct_charge(job, megapixels)
  take_load(job.cost, t, job.state == 'processing' and to ~= 'canceled')
  if job.state == 'processing' then let_go(id, job) else unqueue(id, job) end
  fields[#fields + 1] = 'completed_at'
  fields[#fields + 1] = num(t)
  move(id, job, to, fields)
  redis.call('HDEL', P .. 'job:' .. id, 'lease_until', 'lease_s', 'claim', 'suspect')
  redis.call('ZADD', P .. 'expiry', num(t + kept_s(job.tenant, 'result_ttl', policy)), id)
  emit(id, job, EVENTS[to], t)
  -- Its runner writes its row and removes it.
  if job.batch and redis.call('EXISTS', P .. 'batch:' .. job.batch) == 1 then
    redis.call('SADD', P .. 'batch:' .. job.batch .. ':ended', job.item)
  end
  if job.upload then unpin(job.upload, t) end
end

-- Ends a job that nobody asked us to end and nothing was found wrong with: for an operator to look at.
local function give_up(id, job, t, policy, failure)
  redis.call('ZADD', P .. 'dead', num(t), id)
  finish(id, job, 'failed', t, policy, {'failure', failure, 'dead', num(t)})
end

-- Takes a processing job from its worker: back into the backlog, before everything that was not begun, or to its end
-- where its owner gave it up, its deadline is past, or it has killed or been interrupted too often. `reason` is counted
-- where it waits again: lapsed, released or process_ended.
local function put_back(id, job, t, policy, reason)
  if job.cancel then return finish(id, job, 'canceled', t, policy, {'attempt', job.attempt}) end
  if job.deadline and t >= tonumber(job.deadline) then
    return finish(id, job, 'failed', t, policy, {'attempt', job.attempt, 'failure', policy.deadline_failure})
  end
  if tonumber(job.suspect or 0) >= policy.max_deaths then return give_up(id, job, t, policy, policy.poison_failure) end
  if tonumber(job.attempt) >= policy.max_attempts then
    return give_up(id, job, t, policy, policy.interrupted_failure)
  end
  count('returned ' .. reason)
  let_go(id, job)
  move(id, job, 'queued', {'attempt', job.attempt})
  redis.call('HDEL', P .. 'job:' .. id, 'lease_until', 'lease_s', 'claim', 'progress')
  enqueue(id, job)
end

-- The worker process of a processing job died by a fault of its own, or hangs. Among others the job is one of several
-- that may be the cause: a suspect, which runs alone from now on. Alone it is the cause, unless a device was lost: that
-- may have been its own fault each time, so it never counts.
local function accuse(id, job, t, cause)
  local words = redis.call('HGET', P .. 'slots', job.worker)
  local worker, weights = words and cjson.decode(words) or {}, {}
  for _, model in ipairs(worker.models or {}) do
    if model.sha256 then weights[#weights + 1] = model.name .. ' ' .. string.sub(model.sha256, 1, 12) end
  end
  local deaths = job.deaths and cjson.decode(job.deaths) or {}
  local counts = job.suspect ~= nil and cause ~= 'device_lost'
  deaths[#deaths + 1] = {cause = cause, engine = worker.engine, weights = weights, alone = counts, at = t,
    attempt = tonumber(job.attempt), worker = job.worker, stage = string.match(job.progress or '', '%S+$')}
  -- Without the number of an exit status: there are 255 of them.
  count('suspected ' .. string.match(cause, '^%S+'))
  job.deaths = cjson.encode(deaths)
  redis.call('HSET', P .. 'job:' .. id, 'deaths', job.deaths)
  job.suspect = string.format('%d', (job.suspect or 0) + (counts and 1 or 0))
  redis.call('HSET', P .. 'job:' .. id, 'suspect', job.suspect)
end

-- Whether a lease of this worker's ended by itself, and nobody has had the job since.
local function has_lapsed(id, job, worker)
  return job and job.state == 'queued' and job.worker == worker
    and redis.call('SISMEMBER', P .. 'lapsed:' .. worker, id) == 1
end

-- The same of a job whose lease ended before the end of its process was known: once, since its end may be told twice.
local function accuse_lapsed(id, job, t, policy, cause)
  redis.call('SREM', P .. 'lapsed:' .. job.worker, id)
  unqueue(id, job)
  accuse(id, job, t, cause)
  if tonumber(job.suspect) >= policy.max_deaths then return give_up(id, job, t, policy, policy.poison_failure) end
  enqueue(id, job)
end

-- Gives a queued job to a worker: attempt + 1 and epoch + 1 before the worker reads a byte, so that a start that kills
-- the process is counted. Ends the job instead where its deadline is past or its attempts are used up.
-- Returns nil once it is the worker's, else "deadline" | "exhausted".
local function grant(id, job, t, policy, worker, lease_s, token)
  if job.deadline and t >= tonumber(job.deadline) then
    finish(id, job, 'failed', t, policy, {'failure', policy.deadline_failure})
    return 'deadline'
  end
  local attempt, epoch = tonumber(job.attempt or 0) + 1, tonumber(job.epoch or 0) + 1
  if attempt > policy.max_attempts then
    give_up(id, job, t, policy, policy.interrupted_failure)
    return 'exhausted'
  end
  unqueue(id, job)
  redis.call('SREM', P .. 'lapsed:' .. worker, id)
  local lease_until = num(t + tonumber(lease_s))
  redis.call('ZADD', P .. 'leases', lease_until, id)
  redis.call('SADD', P .. 'held:' .. worker, id)
  move(id, job, 'processing', {'attempt', attempt, 'epoch', epoch, 'worker', worker, 'claim', token,
    'lease_s', lease_s, 'lease_until', lease_until, 'started_at', num(t)})
  if epoch == 1 then emit(id, job, 'started', t) end
  return nil
end

-- Why the holder of `epoch` may not write, or nil: 'gone', 'fenced' (the job is, or may soon be, another attempt's)
-- or 'illegal' (this very attempt ended it already).
local function refusal(job, epoch)
  if not job then return 'gone' end
  if (job.epoch or '0') ~= epoch or job.state == 'queued' then return 'fenced' end
  if job.state ~= 'processing' then return 'illegal' end
  return nil
end
