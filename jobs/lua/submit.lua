-- Accepts a job: idempotency entry, quota, record, index, backlog, deadline and the hold on its upload, all or nothing.
-- KEYS[1]  job:<id>            hash, must not exist
-- ARGV[1]  id                  job id
-- ARGV[2]  tenant
-- ARGV[3]  lane                interactive | batch
-- ARGV[4]  cost                float > 0, the scheduler's first idea
-- ARGV[5]  spec                JSON, what the submitter asked for
-- ARGV[6]  events              "completed,failed", empty without a callback
-- ARGV[7]  deadline_s          float from now, or empty
-- ARGV[8]  upload              id of the upload that is the input, or empty
-- ARGV[9]  idempotency key     sha256 of it, or empty
-- ARGV[10] fingerprint         sha256 of the canonical request, or empty
-- ARGV[11] idempotency_ttl_s   int
-- ARGV[12] quota               int, unfinished jobs a tenant may have unless its own record says otherwise
-- ARGV[13] version             int, of the record's form
-- ARGV[14] replay of           id of the job that this one repeats, or empty. The older one says so; what it did to its
--                              process alone, this one may do again: it begins as a suspect
-- ARGV[15] code                over id, tenant, lane and spec; see jobs/signing.py
-- ARGV[16] most                int, unfinished jobs of all tenants
-- ARGV[17] batch               id of the batch whose item it is, or empty
-- ARGV[18] part                int, the part of its report where the item's row goes
-- ARGV[19] item                int
-- ARGV[20] epoch               int, of the batch's runner
-- Returns  {"new", seq, suspect ("0" or empty)} | {"ok" (the same call again)|"replayed", record, its id} | {"mismatch"} | {"daily", limit, seconds until it is another day} | {"quota", limit, load, the tenant's jobs} | {"busy", load}
--          | {"fenced"}: another runner has the batch, or the item has its row;
--          load: {unfinished jobs, their work, work done a second}
local id, tenant, lane = ARGV[1], ARGV[2], ARGV[3]
local idem = ARGV[9] ~= '' and P .. 'idem:' .. tenant .. ':' .. ARGV[9] or nil

-- A write that changes nothing: WAIT then has an offset to wait for, also when an earlier call made the record.
local function touched(status, known)
  redis.call('HSET', P .. 'job:' .. known, 'tenant', tenant)
  return reply(status, known)
end

if idem then
  local entry = redis.call('GET', idem)
  if entry then
    local fingerprint, known = string.match(entry, '^(%S+) (%S+)$')
    if redis.call('EXISTS', P .. 'job:' .. known) == 1 then
      if fingerprint ~= ARGV[10] then return {'mismatch'} end
      return touched(known == id and 'ok' or 'replayed', known)
    end
  end
end
local batch = ARGV[17] ~= '' and P .. 'batch:' .. ARGV[17] or nil
if batch and (redis.call('HGET', batch, 'epoch') ~= ARGV[20] or redis.call('HEXISTS', batch .. ':open', ARGV[18]) == 0
  or redis.call('HEXISTS', batch .. ':rows:' .. ARGV[18], ARGV[19]) == 1) then return {'fenced'} end
-- The same call again, after its answer was lost.
if redis.call('EXISTS', KEYS[1]) == 1 then return touched('ok', id) end

local t = now()
local limits = redis.call('HMGET', P .. 'tenant:' .. tenant, 'quota', 'megapixels')
local quota, megapixels = tonumber(limits[1] or ARGV[12]), tonumber(ARGV[4]) - BASE_COST
local index = P .. 'index:' .. tenant .. ':'
local own = redis.call('ZCARD', index .. 'queued') + redis.call('ZCARD', index .. 'processing')
if own >= quota then return {'quota', quota, load_told(), own} end
if limits[2] and used(tenant, 'megapixels', t) + megapixels > tonumber(limits[2]) then
  return {'daily', limits[2], until_tomorrow(t)}
end
if load_of().jobs >= tonumber(ARGV[16]) then return {'busy', load_told()} end

local seq = math.max(math.floor(t * 1000000 + 0.5), tonumber(redis.call('GET', P .. 'seq') or 0) + 1)
local job = {tenant = tenant, lane = lane, seq = string.format('%.0f', seq)}
local fields = {'v', ARGV[13], 'state', 'queued', 'tenant', tenant, 'lane', lane, 'seq', job.seq, 'cost', ARGV[4],
  'rev', 1, 'spec', ARGV[5], 'code', ARGV[15]}
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
if ARGV[6] ~= '' then set('events', ARGV[6]) end
if ARGV[7] ~= '' then
  job.deadline = num(t + tonumber(ARGV[7]))
  set('deadline', job.deadline)
end
local older = ARGV[14] ~= '' and redis.call('HMGET', P .. 'job:' .. ARGV[14], 'state', 'dead', 'deaths')
if older and older[2] and older[3] then
  job.suspect = '0'
  set('suspect', 0)
end
local state_of_upload = ARGV[8] ~= '' and redis.call('HMGET', P .. 'upload:' .. ARGV[8], 'spec', 'gone')
local pinned = state_of_upload and state_of_upload[1] and not state_of_upload[2]
if pinned then set('upload', ARGV[8]) end

if batch then
  set('batch', ARGV[17])
  set('item', ARGV[19])
  redis.call('SADD', batch .. ':flight', ARGV[19])
end
redis.call('HSET', KEYS[1], unpack(fields))
charge(tenant, 'megapixels', megapixels, t)
if older and older[1] then
  redis.call('HSET', P .. 'job:' .. ARGV[14], 'replayed_as', id)
  redis.call('HINCRBY', P .. 'job:' .. ARGV[14], 'rev', 1)
end
redis.call('SET', P .. 'seq', job.seq)
add_load(ARGV[4], t)
count('submitted ' .. lane)
redis.call('ZADD', index .. 'queued', job.seq, id)
enqueue(id, job)
if pinned then
  redis.call('HINCRBY', P .. 'upload:' .. ARGV[8], 'pins', 1)
  redis.call('ZREM', P .. 'uploads', ARGV[8])
end
if idem then redis.call('SET', idem, ARGV[10] .. ' ' .. id, 'EX', ARGV[11]) end
-- The caller knows the rest of the record.
return {'new', job.seq, job.suspect or ''}
