-- Checks jobs' records against every index that may hold them; repairs what is wrong if asked. The record is right.
-- KEYS[1]  leases     zset; names the slot
-- ARGV[1]  repair     "1" = repair, "0" = only say
-- ARGV[2]  lanes      names of priorities, joined by commas
-- ARGV[3..] ids       job ids; those without a record are passed over
-- Returns  {id, violation, id, violation, ...}: words for an operator
essential()
local repair, lanes, t = ARGV[1] == '1', {'suspect'}, now()
for lane in string.gmatch(ARGV[2], '[^,]+') do lanes[#lanes + 1] = lane end
local found = {}

local function examine(id, job)
  local waiting = job.state == 'queued'

  local function wrong(words, mend)
    found[#found + 1] = id
    found[#found + 1] = words
    if repair then mend() end
  end

  -- `score`: what it is to be entered with; nil = it does not belong there.
  local function expect(key, score, words)
    local there = redis.call('ZSCORE', P .. key, id)
    if score and not there then
      wrong(words .. ' is missing', function() redis.call('ZADD', P .. key, score, id) end)
    elseif there and not score then
      wrong(words .. ' is left over', function() redis.call('ZREM', P .. key, id) end)
    end
  end

  for state in pairs(MOVES) do
    expect('index:' .. job.tenant .. ':' .. state, state == job.state and job.seq or nil, 'entry in the list of ' .. state)
  end
  expect('leases', job.state == 'processing' and (job.lease_until or num(t)) or nil, 'lease')
  expect('dead', job.dead, 'dead letter')
  if job.state == 'processing' then
    local held = P .. 'held:' .. job.worker
    if redis.call('SISMEMBER', held, id) == 0 then
      wrong('entry in its worker\'s hands is missing', function() redis.call('SADD', held, id) end)
    end
    if job.suspect and redis.call('ZSCORE', P .. 'secluded', job.worker) ~= 'inf' then
      wrong('runs as a suspect, and others may join it', function()
        redis.call('ZADD', P .. 'secluded', '+inf', job.worker)
      end)
    end
  end
  if job.suspect and not waiting and job.state ~= 'processing' then
    wrong('is a suspect though it has ended', function() redis.call('HDEL', P .. 'job:' .. id, 'suspect') end)
  end
  expect('deadlines', waiting and job.deadline or nil, 'deadline')
  expect('expiry', EVENTS[job.state] and num(t) or nil, 'expiry')
  expect('retire', job.state == 'expired' and num(t) or nil, 'end of the record')

  local places = 0
  for _, lane in ipairs(lanes) do
    local own = waiting and lane == lane_of(job)
    for _, key in ipairs({'sent:' .. lane, 'backlog:' .. lane .. ':' .. job.tenant}) do
      if redis.call('ZSCORE', P .. key, id) then
        -- Suspects are never sent.
        if own and places == 0 and key ~= 'sent:suspect' then
          places = 1
        else
          wrong('place in ' .. key .. ' is left over', function() redis.call('ZREM', P .. key, id) end)
        end
      end
    end
  end
  local backlog, ring = P .. 'backlog:' .. lane_of(job) .. ':' .. job.tenant, P .. 'ring:' .. lane_of(job)
  if waiting and places == 0 then
    wrong('waits nowhere', function() enqueue(id, job) end)
  elseif waiting and redis.call('ZSCORE', backlog, id) and not redis.call('ZSCORE', ring, job.tenant) then
    wrong('its tenant is not served', function() enqueue(id, job) end)
  end
  if redis.call('PTTL', P .. 'job:' .. id) >= 0 then
    wrong('the record has a time to live', function() redis.call('PERSIST', P .. 'job:' .. id) end)
  end
end

for i = 3, #ARGV do
  local job = load(ARGV[i])
  if job then examine(ARGV[i], job) end
end
return found
