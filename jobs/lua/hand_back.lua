-- A worker cannot take what was sent to it: the job goes back to its place, to be sent elsewhere at once.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  id         job id
-- Returns  1 if it was on its way, else 0
essential()
local job = load(ARGV[1])
if not job or job.state ~= 'queued' then return 0 end
return hand_back(ARGV[1], job)
