-- A tenant's jobs, newest first.
-- KEYS[1]  index:<tenant>:queued   zset; names the slot, the other states' follow from ARGV
-- ARGV[1]  tenant
-- ARGV[2]  cursor    seq: only older ones; empty = from the newest
-- ARGV[3]  limit     int > 0
-- ARGV[4..] states   whose indices to merge
-- Returns  {seq of the last one or "", record, record, ...}
local highest, limit = ARGV[2] == '' and '+inf' or '(' .. ARGV[2], tonumber(ARGV[3])
local found = {}
for i = 4, #ARGV do
  local page = redis.call('ZREVRANGEBYSCORE', P .. 'index:' .. ARGV[1] .. ':' .. ARGV[i], highest, '-inf',
    'WITHSCORES', 'LIMIT', 0, limit)
  for k = 1, #page, 2 do found[#found + 1] = {page[k], tonumber(page[k + 1])} end
end
table.sort(found, function(a, b) return a[2] > b[2] end)
local out, last = {''}, nil
for k = 1, math.min(limit, #found) do
  local record = redis.call('HGETALL', P .. 'job:' .. found[k][1])
  last = string.format('%.0f', found[k][2])
  if #record > 0 then
    -- Lists carry the id, which the record itself does not.
    record[#record + 1] = 'id'
    record[#record + 1] = found[k][1]
    out[#out + 1] = record
  end
end
if #found >= limit and last then out[1] = last end
return out
