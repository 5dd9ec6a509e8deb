-- Sets what a tenant is entitled to.
-- KEYS[1]  tenant:<tenant>   hash
-- ARGV[1]  weight            float > 0, its share against others
-- ARGV[2]  quota             int >= 0, unfinished jobs it may have; empty = the installation's
-- Returns  1
redis.call('HSET', KEYS[1], 'weight', ARGV[1])
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'quota')
else
  redis.call('HSET', KEYS[1], 'quota', ARGV[2])
end
return 1
