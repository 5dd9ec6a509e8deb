-- Takes a token from each of several buckets, or none at all: what is refused costs nothing.
-- A bucket holds `quota` tokens and fills again in `window_s`, evenly.
-- KEYS[1]  rate:<name>:<of>   hash {tokens, at}, with a TTL; names the slot
-- ARGV     four for each bucket: name, of (whose it is), quota (int > 0), window_s (float)
--          A tenant's bucket is as large as its own record says (`rate`, for the same window; 0 = no limit), if it does.
-- Returns  {taken (1 | 0), {name, quota, window_s, tokens left, seconds until there is one, seconds until it is full}, ...}
local t, buckets, taken = now(), {}, 1
for i = 1, #ARGV, 4 do
  local name, of, quota, window = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if name == 'tenant' then quota = tonumber(redis.call('HGET', P .. 'tenant:' .. of, 'rate') or quota) end
  if quota > 0 then
    local key = P .. 'rate:' .. name .. ':' .. of
    local was = redis.call('HMGET', key, 'tokens', 'at')
    -- A clock that went back gives nothing.
    local since = math.max(0, t - tonumber(was[2] or t))
    local tokens = math.min(quota, tonumber(was[1] or quota) + since * quota / window)
    buckets[#buckets + 1] = {name = name, key = key, quota = quota, window = window, tokens = tokens}
    if tokens < 1 then taken = 0 end
  end
end
local out = {taken}
for _, bucket in ipairs(buckets) do
  if taken == 1 then
    bucket.tokens = bucket.tokens - 1
    redis.call('HSET', bucket.key, 'tokens', num(bucket.tokens), 'at', num(t))
    redis.call('PEXPIRE', bucket.key, math.ceil(bucket.window * 1000))
  end
  local each = bucket.window / bucket.quota
  out[#out + 1] = {bucket.name, bucket.quota, num(bucket.window), math.floor(bucket.tokens),
    num(math.max(0, 1 - bucket.tokens) * each), num((bucket.quota - bucket.tokens) * each)}
end
return out
