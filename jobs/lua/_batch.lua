-- Read after _common.lua before every script whose name begins with `batch_`: what they share.
--
-- Keys:
--   batch:<id>                hash    the record; fields below
--   batch:<id>:open           hash    part -> how many rows it will have; parts that are begun and not yet in storage
--   batch:<id>:rows:<part>    hash    item -> row (JSON); of an open part
--   batch:<id>:flight         set     items that have a job
--   batch:<id>:ended          set     of these, the ones whose job has ended and that have no row yet
--   batch:<id>:retry          bitmap  items whose last row failed or was canceled, of parts in storage
--   batch:<id>:parts          string  one byte a part: the generation whose rows are in storage, 0 = none yet
--   batch:<id>:flagged        bitmap  items with a result that a person should look at
--   batch:<id>:accepted       bitmap  items whose latest decision is that one; and :rejected
--   batch:<id>:decisions      list    people's decisions (JSON) that are not in storage yet, the oldest first
--   batches:decided           zset    id -> when its report is made anew, with decisions that came after it
--   batches                   zset    id -> until when its runner has it; those that have not ended
--   batches:<tenant>          zset    id -> seq
--   batches:old               zset    id -> when the record goes
--   batchidem:<tenant>:<sha>  string  "<fingerprint> <batch id>", with a TTL
--
-- Record fields: v, tenant, state, seq, spec (JSON, never rewritten), code (jobs/signing.py), rev, epoch, generation, and
--   where set: request, deadline, runner, started_at, completed_at, total, prepared, pieces, cursor, next_part, n_<state
--   of an item>, gpu_s, megapixels, rate and rate_at (rows a second, exponentially weighted), pins, ending, failure, note;
--   flagged, pending, accepted, rejected (how many items), decided (chunks of decisions in storage), redos;
--   price and currency (of an hour of a device, at its submit), estimate (JSON, of a dry run).

local B = P .. 'batch:'

local BATCH_MOVES = {
  preparing = {running = true, canceling = true, completing = true, failed = true},
  running = {paused = true, canceling = true, completing = true},
  paused = {running = true, canceling = true, completing = true},
  canceling = {completing = true, failed = true},
  completing = {succeeded = true, failed = true, canceled = true},
  succeeded = {running = true},
  failed = {running = true},
  canceled = {running = true},
}
local BATCH_ENDED = {succeeded = 'completed', failed = 'failed', canceled = 'canceled'}
-- Rates are remembered over so many seconds.
local RATE_S = 60

local function batch_legal(from, to)
  return BATCH_MOVES[from] ~= nil and BATCH_MOVES[from][to] == true
end

local function load_batch(id)
  local flat = redis.call('HGETALL', B .. id)
  if #flat == 0 then return nil end
  local batch = {}
  for i = 1, #flat, 2 do batch[flat[i]] = flat[i + 1] end
  return batch
end

local function batch_reply(status, id)
  return {status, redis.call('HGETALL', B .. id), id, redis.call('SCARD', B .. id .. ':flight')}
end

-- Why the runner of `epoch` may not write, or nil.
local function batch_refusal(batch, epoch)
  if not batch then return 'gone' end
  if batch.epoch ~= epoch then return 'fenced' end
  return nil
end

-- Removes a job whose row is written, and everything that knows of it. What was given up stays for operators.
local function drop_item(id, job, t)
  if not job or MOVES[job.state].processing or job.state == 'processing' or job.dead then return end
  redis.call('ZREM', P .. 'expiry', id)
  if job.result and string.find(job.result, '"artifacts":[{', 1, true) then
    -- Its objects go first: by the runner in a moment, else by the sweeper.
    if job.state ~= 'expired' then move(id, job, 'expired', {}) end
    redis.call('ZADD', P .. 'trash', num(t + 60), 'job ' .. id)
    redis.call('ZADD', P .. 'retire', num(t + 120), id)
    return
  end
  redis.call('ZREM', P .. 'index:' .. job.tenant .. ':' .. job.state, id)
  redis.call('ZREM', P .. 'retire', id)
  redis.call('DEL', P .. 'job:' .. id)
end
