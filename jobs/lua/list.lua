-- A tenant's jobs, newest first.
-- KEYS[1]  index:<tenant>:queued   zset; names the slot, the other states' follow from ARGV
-- ARGV[1]  tenant
-- ARGV[2]  before    seq: only older ones; empty = from the newest
-- ARGV[3]  limit     int > 0
-- ARGV[4]  review    accepted | rejected: the latest decision about the result; pending: none yet; empty = all the same
-- ARGV[5]  from      seq: only that one and newer ones; empty = to the oldest
-- ARGV[6]  batch     only its items; empty = the same
-- ARGV[7..] states   whose indices to merge
-- Returns  {seq of the last one that was looked at or "", record, record, ...}. With a review or batch a page
--          may hold fewer than `limit`, even none, and yet have a next one: so many jobs are looked at in one call.
local LOOKED_AT = 1000

local highest, lowest = ARGV[2] == '' and '+inf' or '(' .. ARGV[2], ARGV[5] == '' and '-inf' or ARGV[5]
local limit, review, batch = tonumber(ARGV[3]), ARGV[4], ARGV[6]
local window = review == '' and batch == '' and limit or LOOKED_AT

local function wanted(id)
  if batch ~= '' and redis.call('HGET', P .. 'job:' .. id, 'batch') ~= batch then return false end
  return review == '' or (redis.call('HGET', P .. 'job:' .. id, 'reviewed') or 'pending') == review
end

local found = {}
for i = 7, #ARGV do
  local page = redis.call('ZREVRANGEBYSCORE', P .. 'index:' .. ARGV[1] .. ':' .. ARGV[i], highest, lowest,
    'WITHSCORES', 'LIMIT', 0, window)
  for k = 1, #page, 2 do found[#found + 1] = {page[k], tonumber(page[k + 1])} end
end
table.sort(found, function(a, b) return a[2] > b[2] end)
local out, seen = {''}, 0
while seen < math.min(window, #found) and #out <= limit do
  seen = seen + 1
  local id = found[seen][1]
  local record = wanted(id) and redis.call('HGETALL', P .. 'job:' .. id) or {}
  if #record > 0 then
    -- Lists carry the id, which the record itself does not.
    record[#record + 1] = 'id'
    record[#record + 1] = id
    out[#out + 1] = record
  end
end
if seen > 0 and (seen < #found or #found >= window) then out[1] = string.format('%.0f', found[seen][2]) end
return out
