-- A person's decision about a result, added to those before. The same one once more changes nothing.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua; not needed
-- ARGV[2]  id         job id
-- ARGV[3]  tenant     whose job it must be
-- ARGV[4]  decision   accepted | rejected
-- ARGV[5]  note       may be empty
-- ARGV[6]  by         may be empty
-- ARGV[7]  limit      int, decisions that a record may hold
-- Returns  {"ok", record, id} | {"gone"} | {"illegal", state} | {"illegal", "full"}
local id = ARGV[2]
local job = load(id)
if not job or job.tenant ~= ARGV[3] then return {'gone'} end
if job.state ~= 'succeeded' then return {'illegal', job.state} end
local reviews = job.reviews and cjson.decode(job.reviews) or {}
local last = reviews[#reviews]
if last and last.decision == ARGV[4] and last.note == ARGV[5] and last.by == ARGV[6] then return reply('ok', id) end
if #reviews >= tonumber(ARGV[7]) then return {'illegal', 'full'} end
reviews[#reviews + 1] = {decision = ARGV[4], note = ARGV[5], by = ARGV[6], at = now()}
redis.call('HSET', KEYS[1], 'reviews', cjson.encode(reviews), 'reviewed', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'rev', 1)
return reply('ok', id)
