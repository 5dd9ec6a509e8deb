-- Whose jobs wait. Reads only; its work is bounded by the number of tenants that have something waiting.
-- KEYS[1]  tenants   zset; names the slot
-- ARGV[1]  limit     int, the most tenants to tell
-- ARGV[2..] lanes    names
-- Returns  {{tenant, waiting in the first lane, in the second, ...}, ...}, those with most first
local of, order = {}, {}
for lane = 2, #ARGV do
  for _, tenant in ipairs(redis.call('ZRANGE', P .. 'ring:' .. ARGV[lane], 0, -1)) do
    if not of[tenant] then
      of[tenant] = {all = 0}
      order[#order + 1] = tenant
    end
    local count = redis.call('ZCARD', P .. 'backlog:' .. ARGV[lane] .. ':' .. tenant)
    of[tenant][lane], of[tenant].all = count, of[tenant].all + count
  end
end
table.sort(order, function(one, other)
  if of[one].all ~= of[other].all then return of[one].all > of[other].all end
  return one < other
end)
local out = {}
for i = 1, math.min(#order, tonumber(ARGV[1])) do
  out[i] = {order[i]}
  for lane = 2, #ARGV do out[i][lane] = of[order[i]][lane] or 0 end
end
return out
