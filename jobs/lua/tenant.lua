-- Sets what a tenant is entitled to.
-- KEYS[1]  tenant:<tenant>   hash
-- ARGV[1]  tenant
-- ARGV[2]  weight            float > 0, its share against others
-- ARGV[3]  quota             int >= 0, unfinished jobs it may have; empty = the installation's
-- ARGV[4]  rate              int >= 0, requests a minute; 0 = no limit; empty = the installation's
-- ARGV[5]  inputs            JSON list of what it may name as an input; empty = the default
-- ARGV[6]  code              over the inputs; see jobs/signing.py
-- ARGV[7]  megapixels        int, a day; empty = no limit
-- ARGV[8]  bytes             int, of uploads a day; empty = no limit
-- ARGV[9]  upload_ttl        int > 0, seconds that uploads are kept; empty = the installation's
-- ARGV[10] result_ttl        int > 0, seconds that results are kept; empty = the installation's
-- ARGV[11] record_ttl        int > 0, seconds that records of finished jobs are kept; empty = the installation's
-- ARGV[12] outputs           JSON list of where its batches may deliver; empty = the default
-- ARGV[13] outputs' code      over the outputs
-- Returns  1
redis.call('ZADD', P .. 'tenants', 'NX', num(now()), ARGV[1])
redis.call('HSET', KEYS[1], 'weight', ARGV[2])
for name, value in pairs({quota = ARGV[3], rate = ARGV[4], inputs = ARGV[5], code = ARGV[6],
  megapixels = ARGV[7], bytes = ARGV[8], upload_ttl = ARGV[9], result_ttl = ARGV[10], record_ttl = ARGV[11],
  outputs = ARGV[12], outputs_code = ARGV[13]}) do
  if value == '' then redis.call('HDEL', KEYS[1], name) else redis.call('HSET', KEYS[1], name, value) end
end
return 1
