-- Gives up a job that has just been claimed and whose record is not signed by us. Nobody is told of it: where to is part of
-- what is not ours. Neither is the upload that it names let go.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim
-- ARGV[4]  failure    JSON
-- Returns  1 if it was given up, else 0: another attempt owns it
essential()
local policy, id = cjson.decode(ARGV[1]), ARGV[2]
local job = load(id)
if refusal(job, ARGV[3]) then return 0 end
local started = 'msg_' .. string.sub(id, 5) .. '_started'
redis.call('ZREM', P .. 'outbox', started)
redis.call('DEL', P .. 'delivery:' .. started)
redis.call('HDEL', KEYS[1], 'events', 'upload')
job.events, job.upload = nil, nil
give_up(id, job, now(), policy, ARGV[4])
return 1
